"""Those who are told: a web server that keeps what it was sent, and answers as it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


class Receiver:
    """`calls` are (method, path, body) each; `answers` are the statuses to give, then 200."""

    def __init__(self, answers: list[int]) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.answers = answers
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.calls.append((request.method, request.path_qs, await request.text()))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)


@asynccontextmanager
async def receiver(*answers: int) -> AsyncIterator[Receiver]:
    found = Receiver(list(answers))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield found
    finally:
        await runner.cleanup()


class Clock:
    """Waits that take no time and are remembered."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
