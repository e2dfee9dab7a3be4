"""Ctrl-C and SIGTERM: the first one lets the run end in good order, the second one leaves at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import msgspec

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop(msgspec.Struct, kw_only=True):
    """The wish to stop: `event` for those who wait for it, `signal_number` for the exit code."""

    event: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    signal_number: int | None = None

    @property
    def exit_code(self) -> int | None:
        """130 or 143, as shells count; None while no signal came."""
        return None if self.signal_number is None else 128 + self.signal_number


@contextmanager
def stop_on_signals(
    say: Callable[[str], None],
    *,
    first: str = "finishing the requests under way; once more leaves at once",
    second: str = "leaving now; the state file is right, run the same command to go on",
    leave: Callable[[int], None] = os._exit,
) -> Iterator[Stop]:
    """A `Stop` that SIGINT and SIGTERM set while the context lasts; needs a running event loop."""
    stop, loop = Stop(), asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def received(number: int) -> None:
        name = signal.Signals(number).name
        if stop.signal_number is None:
            stop.signal_number = number
            stop.event.set()
            say(f"{name}: {first}")
        else:
            say(f"{name}: {second}")
            leave(128 + number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, partial(received, number))
    try:
        yield stop
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
