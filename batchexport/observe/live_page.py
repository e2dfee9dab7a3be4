"""The report of a run as a live page over HTTP: read-only, and without any request to elsewhere."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from batchexport.errors import BatchExportError
from batchexport.observe.metrics_server import Address, listening
from batchexport.report.html import html_report
from batchexport.report.html.page import LIVE_POLICY
from batchexport.report.run_report import collect_report
from batchexport.report.status import status_json
from batchexport.store import StoreRef, stores

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger(__name__)

#: How often a browser asks again, and how long one answer is given to all of them.
EVERY_S = 5.0
#: A page is made at most this part of the time: that of a million rows takes seconds.
_BUSY_SHARE = 0.2
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"{LIVE_POLICY}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "batchexport",  # aiohttp's own would name its version and that of Python
    "X-Content-Type-Options": "nosniff",
}


class _Text:
    """A text about the run, made anew when it is asked for and the last one is old."""

    def __init__(self, make: Callable[[], str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._clock = clock
        self._lock = asyncio.Lock()
        self._text = ""
        self._good_until = float("-inf")

    async def read(self, max_age_s: float) -> str:
        async with self._lock:
            if self._clock() >= self._good_until:
                began = self._clock()
                self._text = await asyncio.to_thread(self._make)
                took_s = self._clock() - began
                self._good_until = self._clock() + max(max_age_s, took_s / _BUSY_SHARE)
            return self._text


@asynccontextmanager
async def serve_page(
    address: Address, store: Callable[[], StoreRef], *, every_s: float = EVERY_S
) -> AsyncIterator[Address]:
    """Serve while the context lasts; yields the address it listens on. Raises ConfigError.

    `/` is the report, which keeps itself up to date, `/status.json` what `status -f json` prints. `store` is
    asked each time which run it is. A request for a name that is not this machine's is refused: by such a
    name a page of somebody else's could read this one.
    """
    from aiohttp import web  # costs every command its start-up, and few serve a page

    page = _Text(lambda: _page(store(), every_s))
    status = _Text(lambda: _status(store()))

    @web.middleware
    async def guarded(request: web.Request, handler: Callable[..., object]) -> web.StreamResponse:
        if not is_own_host(request.host, address):
            return web.Response(status=403, text="not a name of this machine\n", headers=_HEADERS)
        try:
            return await handler(request)  # type: ignore[no-any-return, misc]  # aiohttp does not say
        except BatchExportError as error:
            log.warning("the live page: %s", error, extra={"action": "live_page_failed"})
            return web.Response(status=503, text=f"{error}\n", headers=_HEADERS)

    async def answer_page(_: web.Request) -> web.Response:
        text = await page.read(every_s / 2)
        return web.Response(text=text, content_type="text/html", headers=_HEADERS)

    async def answer_status(_: web.Request) -> web.Response:
        text = await status.read(every_s / 2)
        return web.Response(text=f"{text}\n", content_type="application/json", headers=_HEADERS)

    app = web.Application(middlewares=[guarded])
    app.router.add_get("/", answer_page)
    app.router.add_get("/status.json", answer_status)
    async with listening(app, address, option="--serve") as found:
        yield found


def is_own_host(host: str, address: Address) -> bool:
    """Whether the Host header names this machine: an IP address, localhost, or one of its own names."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    name = name.strip("[]").rstrip(".").lower()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        own = socket.gethostname().lower()
        return name in {
            "localhost",
            own,
            own.partition(".")[0],
            socket.getfqdn().lower(),
            address.host.lower(),
        }
    return True


def is_loopback(address: Address) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return address.host.lower() == "localhost"


def _page(ref: StoreRef, every_s: float) -> str:
    with stores.read(ref) as reader:
        return html_report(collect_report(reader, now=time.time(), earlier=()), live_every_s=every_s)


def _status(ref: StoreRef) -> str:
    with stores.read(ref) as reader:
        return status_json(reader, ref, now=time.time())
