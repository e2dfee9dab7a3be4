"""What meets a request before any service has seen it: gateways, limits, rights and tokens."""

from __future__ import annotations

import asyncio

from aiohttp import web

from batchexport.sandbox.responses import NOT_SIGNED_IN, Refusal, json_reply
from batchexport.sandbox.weather.conditions import Asked, Conditions
from batchexport.sandbox.weather.settings import Gateway, Throttled

REASONS = {413: "Request Entity Too Large", 497: "Rate Limited", 498: "Rate Limited"}
POLICY = "Policy doesn't allow {} to be performed."
#: The rule of an operator's policy that a request breaks.
RULES = {
    "list_volumes": "volume:get_all",
    "list_snapshots": "volume:get_all_snapshots",
    "create_snapshot": "volume:create_snapshot",
    "create_volume": "volume:create",
    "list_images": "get_images",
    "list_servers": "os_compute_api:servers:index",
    "post_action": "volume_extension:volume_actions:upload_image",
}
OVER_QUOTA = (
    "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota. "
    "Requested 10G, quota is 100G and 95G has been consumed."
)


async def stopped(conditions: Conditions, asked: Asked) -> web.Response | None:
    """The answer of what stands in front of the service, where it does not let the request through.

    Raises Refusal for what the service itself would refuse.
    """
    weather = conditions.weather
    gateway = weather.gateway
    if gateway is not None and _meets(gateway, asked) and conditions.hits("gateway", gateway, asked):
        return gateway_says(_picked(conditions, gateway, asked))
    if weather.throttled is not None and conditions.hits("throttled", weather.throttled, asked):
        return _throttled(conditions, weather.throttled, asked)
    if conditions.hits("flapping_token", weather.flapping_token, asked):
        raise Refusal(401, NOT_SIGNED_IN)
    if _is_forbidden(conditions, asked):
        raise Refusal(403, POLICY.format(RULES.get(asked.kind, asked.kind)))
    if asked.is_list:
        return await _list_stopped(conditions, asked)
    if asked.is_export:
        return _export_stopped(conditions, asked)
    return None


def gateway_says(status: int) -> web.Response:
    """A gateway's own answer, as HTML."""
    words = {404: "Not Found", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable"}
    title = f"{status} {words.get(status, 'Gateway Time-out')}"
    return web.Response(
        status=status, content_type="text/html", text=f"<html><body><h1>{title}</h1>\n</body></html>\n"
    )


async def _list_stopped(conditions: Conditions, asked: Asked) -> web.Response | None:
    weather = conditions.weather
    if conditions.hits("refused_lists", weather.refused_lists, asked):
        raise Refusal(403, POLICY.format(RULES.get(asked.kind, asked.kind)))
    if weather.slow_lists is not None and conditions.hits("slow_lists", weather.slow_lists, asked):
        await asyncio.sleep(weather.slow_lists.seconds)
        return gateway_says(504)
    return None


def _export_stopped(conditions: Conditions, asked: Asked) -> web.Response | None:
    weather = conditions.weather
    if conditions.hits("quota", weather.quota, asked):
        body = {"overLimit": {"code": 413, "message": OVER_QUOTA, "retryAfter": "0"}}
        return json_reply(body, status=413, headers={"Retry-After": "0"})
    return None


def _is_forbidden(conditions: Conditions, asked: Asked) -> bool:
    forbidden, call = conditions.weather.forbidden, "export" if asked.is_export else asked.kind
    if forbidden is None or call not in forbidden.calls:
        return False
    return conditions.strikes("forbidden", forbidden, asked.kind, asked.subject)


def _meets(gateway: Gateway, asked: Asked) -> bool:
    return gateway.requests == "all" or asked.is_read == (gateway.requests == "reads")


def _picked(conditions: Conditions, gateway: Gateway, asked: Asked) -> int:
    drawn = conditions.pseudo_random("which status", asked.path, asked.number)
    return gateway.statuses[int(drawn * len(gateway.statuses))]


def _throttled(conditions: Conditions, fault: Throttled, asked: Asked) -> web.Response:
    headers: dict[str, str] = {}
    if fault.header and fault.waits:
        drawn = conditions.pseudo_random("which wait", asked.path, asked.number)
        headers[fault.header] = fault.waits[int(drawn * len(fault.waits))]
    body = {"error": {"code": fault.status, "message": "Too many requests", "title": "Rate Limited"}}
    reply = json_reply(body, status=fault.status, headers=headers)
    reply.set_status(fault.status, REASONS.get(fault.status))
    return reply
