"""The server: one port, all services by path, and what is the same for all of their answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate

from aiohttp import web
from aiohttp.typedefs import Handler

from batchexport.sandbox import (
    block_storage,
    compute,
    ecs,
    evs,
    identity,
    image_data,
    image_members,
    images,
    ims,
    messages,
)
from batchexport.sandbox.auth_gate import credentials_required, is_valid_token
from batchexport.sandbox.fault_injection import inject_drops, inject_errors, limit_middleware
from batchexport.sandbox.requests import HEADER, OTHER_ACTION
from batchexport.sandbox.responses import (
    NOT_FOUND,
    NOT_SIGNED_IN,
    REQUEST_ID,
    Refusal,
    Service,
    new_request_id,
    refusal_reply,
    service_of,
)
from batchexport.sandbox.settings import Profile, SandboxSettings, sign_in_values
from batchexport.sandbox.state import STATE, Journal, SandboxState, kind_of
from batchexport.sandbox.weather.conditions import LAG_S, Conditions, in_header_s, service_name
from batchexport.sandbox.weather.middleware import weather
from batchexport.sandbox.world import Request, World

#: Cinder's own limit of a request body.
MAX_BODY_BYTES = 114688
#: How long an answer under way may take when the server is stopped.
SHUTDOWN_S = 1.0


class Sandbox:
    """A running sandbox, from the outside."""

    def __init__(self, state: SandboxState, *, host: str, port: int) -> None:
        self._state = state
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        """The root of all services."""
        return f"http://{self.host}:{self.port}"

    @property
    def counts(self) -> Mapping[str, int]:
        """Requests since the start by kind: `auth`, `post_action`, `list_volumes`, `get_image`,
        `act_on_server` and so on.

        Beside the kinds it counts what became of them: `throttled`, `inject_errors`, `dropped`, and how often
        each fault of the weather struck: `weather:lag` and so on.
        """
        return Counter(self._state.counts)

    @property
    def exports_per_volume(self) -> Mapping[str, int]:
        """Exports ever accepted, those of the journal included; two for one volume may be one too many."""
        return self._state.world.exports_per_volume()

    def auth(self) -> dict[str, str]:
        """What a client needs to sign in, by the names of openstacksdk."""
        return sign_in_values(self.url)

    def revoke_tokens(self) -> None:
        """From now on no token issued before is accepted, as after a change of the user's rights."""
        self._state.token_generation += 1


@asynccontextmanager
async def serve(
    settings: SandboxSettings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[Sandbox]:
    """A sandbox that runs as long as the context. Port 0 = any free one; `now` gives seconds since the epoch.

    Raises ConfigError if the journal cannot be used, OSError if the port cannot.
    """
    settings = settings or SandboxSettings()
    world = World(settings.volumes, servers=settings.servers, synthetic_volumes=settings.synthetic_volumes)
    journal = Journal(settings.journal) if settings.journal is not None else None
    try:
        if journal is not None:
            for event in journal.replay():
                world.apply(event)
        counts: Counter[str] = Counter()
        state = SandboxState(
            settings=settings,
            world=world,
            journal=journal,
            now=lambda: now() - LAG_S.get(),
            conditions=Conditions(settings.weather, began_at=now(), counts=counts),
            counts=counts,
        )
        async with _listening(_application(state), host, port) as actual_port:
            yield Sandbox(state, host=host, port=actual_port)
    finally:
        if journal is not None:
            journal.close()


@asynccontextmanager
async def _listening(application: web.Application, host: str, port: int) -> AsyncIterator[int]:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _application(state: SandboxState) -> web.Application:
    limit = limit_middleware(state.settings, state.now())
    is_evs = state.settings.profile is Profile.EVS
    gate = credentials_required if is_evs else token_required
    middlewares = [
        common_headers,
        journaled,
        error_responses,
        weather,
        limit,
        inject_errors,
        gate,
        inject_drops,
    ]
    application = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    application[STATE] = state
    services = (
        (evs, ims, ecs) if is_evs else (block_storage, messages, images, image_data, image_members, compute)
    )
    for service in (identity, *services):
        application.add_routes(service.routes())
    return application


@web.middleware
async def common_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Counts the request and adds the headers that every answer has."""
    state = request.app[STATE]
    state.requests += 1
    state.counts[kind_of(request)] += 1
    response = await handler(request)
    now = state.now()
    now += in_header_s(state.conditions, service_name(request.path), now)
    response.headers["Date"] = formatdate(now, usegmt=True)
    response.headers.setdefault(REQUEST_ID, new_request_id())
    if request.path.startswith("/volume/v3"):
        response.headers[HEADER] = request.headers.get(HEADER, "volume 3.0")
    return response


@web.middleware
async def journaled(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Notes in the journal what every request for an export was answered."""
    OTHER_ACTION.set(False)
    response = await handler(request)
    if kind_of(request) == "post_action" and not OTHER_ACTION.get():
        state = request.app[STATE]
        broken = request.transport is None or request.transport.is_closing()
        status = 0 if broken else response.status
        volume_id = request.match_info["volume_id"]
        state.record(Request(volume_id=volume_id, asked_at=state.now(), status=status))
    return response


@web.middleware
async def error_responses(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every refusal into the words and the envelope of the service that was asked."""
    try:
        return await handler(request)
    except Refusal as refusal:
        refused = refusal
    except web.HTTPException as error:
        refused = Refusal(error.status, NOT_FOUND if error.status == 404 else error.reason)
    service = service_of(request.path)
    response = refusal_reply(service, refused, accept=request.headers.get("Accept", ""))
    if refused.status == 401:
        response.headers["WWW-Authenticate"] = f'Keystone uri="{request.url.origin()}/identity/v3"'
    return response


@web.middleware
async def token_required(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets only requests with a valid token pass, except to sign in and to learn the versions."""
    if service_of(request.path) is Service.IDENTITY or kind_of(request) == "list_versions":
        return await handler(request)
    state = request.app[STATE]
    token = request.headers.get("X-Auth-Token", "")
    if not is_valid_token(token, now=state.now(), generation=state.token_generation):
        raise Refusal(401, NOT_SIGNED_IN)
    return await handler(request)
