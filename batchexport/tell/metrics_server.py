"""The metrics over HTTP while a run goes on: GET /metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from batchexport.errors import ConfigError
from batchexport.tell.address import Address
from batchexport.tell.metrics import RunMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Without `Server`, aiohttp would tell its version and that of Python.
_HEADERS = {"Content-Type": CONTENT_TYPE, "Server": "batchexport"}


@asynccontextmanager
async def metrics_served(address: Address, metrics: RunMetrics) -> AsyncIterator[Address]:
    """Serve while the context lasts; the address that it listens on. Raises ConfigError."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text().encode(), headers=_HEADERS)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    # What is under way when the run ends is a scrape of milliseconds: nobody has to wait for it.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError as error:
            raise ConfigError(
                f"--metrics-addr: cannot listen on {address}: {error.strerror}",
                hint="another process may have the port; choose another, or 0 for any",
            ) from error
        host, port = runner.addresses[0][:2]
        yield Address(host, port)
    finally:
        await runner.cleanup()
