"""A sandbox behind a gateway that can be told to lie, both on real sockets in a thread of their own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate

import aiohttp
from aiohttp import web
from msgspec.structs import replace

from batchexport.sandbox import Sandbox, SandboxSettings, serve
from batchexport.sandbox import settings as account

#: What a lie may be chosen by: the kind of the request and its path.
Lie = Callable[[str, str], "Reply | bytes | None"]
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding"}
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in the place of the sandbox's own."""

    status: int
    body: bytes | str = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Cloud:
    """The gateway from outside."""

    url: str
    sandbox: Sandbox
    password: str
    credential_secret: str
    lie: Lie = lambda kind, path: None  #: bytes are put on the wire as they are, and the connection is cut
    tokens: set[str] = field(default_factory=set)  #: every token that was handed out
    date_off_s: float = 0.0  #: how far the gateway's clock is ahead of the services'
    asked: Counter[str] = field(default_factory=Counter)  #: requests by kind

    @property
    def exports(self) -> dict[str, int]:
        """Exports accepted, by volume."""
        return dict(self.sandbox.exports_per_volume)

    def clouds_yaml(self, **changes: str) -> str:
        """A clouds.yaml whose cloud `one` leads here, with some of its values changed."""
        auth = {**self.sandbox.auth(), "auth_url": f"{self.url}/identity/v3", "password": self.password}
        auth |= changes
        region = auth.pop("region_name")
        lines = ["clouds:", "  one:", f"    region_name: {region}", "    auth:"]
        return "\n".join([*lines, *(f"      {name}: '{value}'" for name, value in auth.items())]) + "\n"


def kind_of(method: str, path: str) -> str:
    """`version`, `token`, `export`, `volume`, `volumes`, `image`, `images` or `messages`."""
    if path.startswith("/identity"):
        return "token" if method == "POST" else "version"
    if method == "POST":
        return "export"
    *_, before, last = path.rstrip("/").split("/")
    if last in ("volumes", "images", "messages"):
        return last
    return "volumes" if last == "detail" else before.removesuffix("s")


@contextmanager
def cloud(
    settings: SandboxSettings | None = None, *, password: str = "pa-55-w0rd", secret: str = "se-cr-et"
) -> Iterator[Cloud]:
    """A cloud at work as long as the context lasts. Its password is another than the sandbox's own."""
    ready: list[Cloud] = []
    started, loop = threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()
    settings = settings or SandboxSettings(time_scale=0)

    async def work() -> None:
        async with serve(settings) as sandbox, aiohttp.ClientSession(auto_decompress=False) as http:
            ready.append(Cloud(url="", sandbox=sandbox, password=password, credential_secret=secret))
            runner = web.AppRunner(_gateway(ready[0], http), access_log=None, shutdown_timeout=0.2)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            ready[0].url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            started.set()
            await over.wait()
            await runner.cleanup()

    def run() -> None:
        # Closes all that is open, and runs what that leaves to be done: a loop that just ends does not.
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(work())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(10)
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


def _gateway(cloud: Cloud, http: aiohttp.ClientSession) -> web.Application:
    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        kind = kind_of(request.method, request.path)
        cloud.asked[kind] += 1
        match cloud.lie(kind, request.path):
            case Reply() as reply:
                content = reply.body if isinstance(reply.body, bytes) else reply.body.encode()
                return web.Response(status=reply.status, body=content, headers=reply.headers)
            case bytes() as raw:
                return _cut(request, raw)
        if kind == "token":
            body = body.replace(f'"{cloud.password}"'.encode(), f'"{account.PASSWORD}"'.encode())
            ours = account.APPLICATION_CREDENTIAL_SECRET
            body = body.replace(f'"{cloud.credential_secret}"'.encode(), f'"{ours}"'.encode())
        url, headers = f"{cloud.sandbox.url}{request.raw_path}", _end_to_end(request.headers)
        try:
            async with http.request(request.method, url, data=body, headers=headers) as response:
                return await _passed_on(cloud, response)
        except aiohttp.ServerDisconnectedError:
            return _cut(request, b"")

    application = web.Application(client_max_size=2**20)
    application.router.add_route("*", "/{path:.*}", answer)
    return application


async def _passed_on(cloud: Cloud, response: aiohttp.ClientResponse) -> web.Response:
    headers = _end_to_end(response.headers)
    if token := headers.get("X-Subject-Token"):
        cloud.tokens.add(token)
    headers["Date"] = formatdate(time.time() + cloud.date_off_s, usegmt=True)
    return web.Response(status=response.status, body=await response.read(), headers=headers)


def _end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}


def _cut(request: web.Request, raw: bytes) -> web.Response:
    assert request.transport is not None
    request.transport.write(raw)  # a socket's transport writes
    request.transport.close()
    return web.Response()


def some_that(settings: SandboxSettings, **faults: float) -> SandboxSettings:
    """The settings with faults."""
    return replace(settings, faults=replace(settings.faults, **faults))
