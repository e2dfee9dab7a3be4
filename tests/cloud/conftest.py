from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from batchexport.cloud.auth.tokens import Token, TokenSource
from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http.rate_limiter import RateLimiter
from batchexport.cloud.http.session import HttpSession
from batchexport.cloud.http.transport import TlsConfig, open_http
from tests.cloud.scripted import ScriptedServer, serving


class WatchedGate(RateLimiter):
    """The real gate, with a memory of what it was told."""

    SENT_AT = 17.0

    def __init__(self) -> None:
        super().__init__(0)
        self.told: list[str | float] = []
        self.acquired = 0

    async def acquire(self) -> float:
        self.acquired += 1
        return self.SENT_AT

    def pause(self, seconds: float) -> None:
        self.told.append(seconds)

    def throttled(self, sent_at: float) -> None:
        assert sent_at == self.SENT_AT
        self.told.append("throttled")

    def succeeded(self) -> None:
        self.told.append("succeeded")


def token(number: int = 1) -> Token:
    return Token(value=f"secret-token-{number}", issued_at=None, expires_at=None, project_id="p1", catalog=())


@dataclass
class Bench:
    """A session on a scripted server, with everything around it in reach of the test."""

    server: ScriptedServer
    session: HttpSession
    gate: WatchedGate
    endpoint: Endpoint
    sign_ins: list[Token] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with serving(ScriptedServer()) as server:
        yield server


@pytest.fixture
async def bench(server: ScriptedServer) -> AsyncIterator[Bench]:
    async with benched(server) as made:
        yield made


def benched(server: ScriptedServer, *, now: Callable[[], float] | None = None) -> BenchContext:
    return BenchContext(server, now)


class BenchContext:
    def __init__(self, server: ScriptedServer, now: Callable[[], float] | None) -> None:
        self._server = server
        self._now = now

    async def __aenter__(self) -> Bench:
        self._http = open_http(TlsConfig(), connections=8)
        sign_ins: list[Token] = []
        slept: list[float] = []

        def sign_in() -> Token:
            sign_ins.append(token(len(sign_ins) + 1))
            return sign_ins[-1]

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        gate = WatchedGate()
        clock = {"now": self._now, "steady": lambda: 0.0} if self._now else {}
        session = HttpSession(
            self._http, TokenSource(sign_in), gate, concurrency=8, sleep=sleep, draw=lambda: 0.0, **clock
        )
        endpoint = Endpoint(url=f"{self._server.url}/v3/p1", version="v3")
        return Bench(self._server, session, gate, endpoint, sign_ins, slept)

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
