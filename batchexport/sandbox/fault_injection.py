"""Injected faults and the limit of requests: what goes wrong between the client and the services."""

from __future__ import annotations

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from batchexport.sandbox.outcome import pseudo_random
from batchexport.sandbox.responses import SERVER_ERROR, Refusal, Service, json_reply, service_of
from batchexport.sandbox.settings import Profile, SandboxSettings
from batchexport.sandbox.state import STATE, kind_of

#: What a load balancer says when none of its servers takes the request.
GATEWAY_503 = (
    "<html><body><h1>503 Service Unavailable</h1>\n"
    "No server is available to handle this request.\n</body></html>\n"
)


class Bucket(msgspec.Struct, kw_only=True):
    """A token bucket: `rate` tokens a second, at most `burst` of them saved."""

    rate: float
    burst: int
    tokens: float
    filled_at: float

    def take(self, now: float) -> bool:
        """Whether there was a token left to take."""
        self.tokens = min(float(self.burst), self.tokens + max(0.0, now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def limit_middleware(settings: SandboxSettings, now: float) -> Middleware:
    """Refuses actions beyond the rate, before anybody has looked at them."""
    bucket = None
    if settings.rate is not None:
        bucket = Bucket(rate=settings.rate, burst=settings.burst, tokens=settings.burst, filled_at=now)

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        if bucket is None or kind_of(request) != "post_action" or bucket.take(request.app[STATE].now()):
            return await handler(request)
        request.app[STATE].counts["throttled"] += 1
        return throttled_reply(settings)

    return limit


def throttled_reply(settings: SandboxSettings) -> web.Response:
    """The answer to a request beyond the rate."""
    headers = {"Retry-After": f"{settings.retry_after_s:g}"}
    if settings.rate_status == 413:
        details = f"Only {settings.rate:g} POST request(s) can be made to * every second."
        fault = {"code": 413, "message": "This request was rate-limited.", "details": details}
        return json_reply({"overLimitFault": fault}, status=413, headers=headers)
    limit = f"policy user over ratelimit,limit:{settings.rate:g},time:1 second"
    code = "APIGW.0308" if settings.profile is Profile.EVS else "APIG.0308"
    body = {"error_code": code, "error_msg": f"The throttling threshold has been reached: {limit}"}
    return json_reply(body, status=settings.rate_status, headers=headers)


@web.middleware
async def inject_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers a share of the requests with a gateway's 503 or the service's 500, and does nothing else."""
    state = request.app[STATE]
    faults, number = state.settings.faults, state.requests
    spared = service_of(request.path) is Service.IDENTITY or kind_of(request) == "list_versions"
    if spared or pseudo_random(faults.seed, "error", number) >= faults.error_share:
        return await handler(request)
    state.counts["errors"] += 1
    if pseudo_random(faults.seed, "which error", number) < 0.5:
        return web.Response(text=GATEWAY_503, status=503, content_type="text/html")
    raise Refusal(500, SERVER_ERROR)


@web.middleware
async def inject_drops(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Closes the connection of a share of the accepted exports instead of answering."""
    response = await handler(request)
    if kind_of(request) != "post_action" or response.status != 202:
        return response
    state, volume_id = request.app[STATE], request.match_info["volume_id"]
    faults = state.settings.faults
    if pseudo_random(faults.seed, "drop", volume_id, state.world.exports_of(volume_id)) < faults.drop_share:
        state.counts["dropped"] += 1
        if request.transport is not None:
            request.transport.close()
    return response
