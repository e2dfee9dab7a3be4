"""`status --serve`: the report of a run as a live page, until a signal."""

from __future__ import annotations

from collections.abc import Callable

from batchexport.app import run_in_loop
from batchexport.cli.console import console_of, err
from batchexport.cli.logs import start_log
from batchexport.cli.signals import stop_on_signals
from batchexport.observe.live_page import is_loopback, serve_page
from batchexport.observe.metrics_server import Address
from batchexport.store import StoreRef


def serve(address: Address, store: Callable[[], StoreRef], *, every_s: float) -> None:
    """Serve the page until SIGINT, SIGTERM or the end of the terminal. Raises ConfigError."""
    start_log(console_of())
    run_in_loop(_serve(address, store, every_s))


async def _serve(address: Address, store: Callable[[], StoreRef], every_s: float) -> None:
    with stop_on_signals(err, first="the page is no longer served", second="exiting now") as stop:
        async with serve_page(address, store, every_s=every_s) as listening:
            err(f"live page: http://{listening}/")
            if not is_loopback(listening):
                err(
                    "warning: whoever reaches this address can read the page; it has no password",
                    level="warning",
                )
            await stop.event.wait()
