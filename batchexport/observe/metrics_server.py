"""Serves the metrics over HTTP while a run goes on: GET /metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from batchexport.errors import ConfigError

if TYPE_CHECKING:
    from aiohttp import web

    from batchexport.observe.metrics import RunMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: aiohttp's own `Server` header would name its version and that of Python.
_HEADERS = {"Content-Type": CONTENT_TYPE, "Server": "batchexport"}


@asynccontextmanager
async def serve_metrics(address: Address, metrics: RunMetrics) -> AsyncIterator[Address]:
    """Serve while the context lasts; yields the address it listens on. Raises ConfigError."""
    from aiohttp import web  # costs every command its start-up, and few serve metrics

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text().encode(), headers=_HEADERS)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    async with listening(app, address, option="--metrics-addr") as found:
        yield found


@asynccontextmanager
async def listening(app: web.Application, address: Address, *, option: str) -> AsyncIterator[Address]:
    """Serve an application while the context lasts; yields the address it listens on. Raises ConfigError."""
    from aiohttp import web

    # An answer in flight when the run ends takes milliseconds: do not wait longer for it.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError as error:
            raise ConfigError(
                f"{option}: cannot listen on {address}: {error.strerror}",
                hint="another process may use the port; choose another, or 0 for any free one",
            ) from error
        host, port = runner.addresses[0][:2]
        yield Address(host, port)
    finally:
        await runner.cleanup()


class Address(NamedTuple):
    """The host and port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse `9105`, `:9105`, `127.0.0.1:9105` or `[::1]:9105`; without a host, 127.0.0.1.

    Raises ValueError for anything else.
    """
    host, _, port_text = text.rpartition(":")
    port = int(port_text) if port_text.isascii() and port_text.isdecimal() else -1
    if not 0 <= port <= 65535 or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise ValueError(f"{text!r} is not an address: write PORT, HOST:PORT or [IPV6]:PORT")
    return Address(host.strip("[]") or "127.0.0.1", port)
