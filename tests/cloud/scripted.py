"""A real HTTP server that answers as a test tells it, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import web

Body = bytes | str | Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str  # with the query, as it was on the wire
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def token(self) -> str:
        return self.headers.get("X-Auth-Token", "")


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Body = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


class Drop:
    """The connection is cut without an answer, after the whole request was read."""


class Chunked(Reply):
    """Does not say beforehand how long it is."""


class CutShort(Reply):
    """Promises more than it sends, and cuts the connection."""


Answer = Reply | Drop | Callable[[Seen], Awaitable[Reply]] | Callable[[Seen], Reply]


class ScriptedServer:
    """Gives its answers one after the other; the last one for ever."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self._answers: list[Answer] = [Reply(404)]

    def answers(self, *answers: Answer) -> None:
        self._answers = list(answers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(
            request.method, request.raw_path, dict(request.query), request.headers, await request.read()
        )
        self.seen.append(seen)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if callable(answer):
            told = answer(seen)
            answer = told if isinstance(told, Reply) else await told
        if isinstance(answer, Chunked | CutShort):
            return await self._streamed(request, answer)
        if isinstance(answer, Reply):
            return web.Response(status=answer.status, body=answer.content, headers=answer.headers)
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async def _streamed(self, request: web.Request, reply: Chunked | CutShort) -> web.StreamResponse:
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        if isinstance(reply, CutShort):
            response.content_length = len(reply.content) + 100
        await response.prepare(request)
        with suppress(ConnectionError):  # the client may have heard enough
            await response.write(reply.content)
        if isinstance(reply, CutShort) and request.transport is not None:
            request.transport.close()
        return response


@asynccontextmanager
async def serving(server: ScriptedServer) -> AsyncIterator[ScriptedServer]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def unused_url() -> str:
    """Where nobody listens: the port was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
