"""Signals that end a program: the first one drains the run, the second one exits at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import msgspec

#: Ctrl-C, `kill`, a closed terminal or a dropped connection, and Ctrl-\\.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
#: Somebody wanted it to end with work left.
WORK_LEFT = 75
#: Ignored where `nohup` or a shell's `&` started the program: then they stay so.
_MAY_BE_IGNORED = (signal.SIGHUP, signal.SIGQUIT)


class Stop(msgspec.Struct, kw_only=True):
    """The wish to stop: `event` for those who wait for it, `signal_number` for the exit code."""

    event: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    signal_number: int | None = None
    is_drained: bool = False  #: `ctl` asked for it, and no signal

    def drain(self) -> None:
        """Stop as on the first signal, though none came."""
        self.is_drained = True
        self.event.set()

    @property
    def exit_code(self) -> int | None:
        """128 and the number of the signal, as shells count; None while nobody asked to stop."""
        if self.signal_number is None:
            return WORK_LEFT if self.is_drained else None
        return 128 + self.signal_number


@contextmanager
def stop_on_signals(
    err: Callable[[str], None],
    *,
    first: str = "finishing requests in flight; once more exits at once",
    second: str = "exiting now; the state file is correct, run the same command to resume",
    leave: Callable[[int], None] = os._exit,
    on_hangup: Callable[[], bool] | None = None,
) -> Iterator[Stop]:
    """A `Stop` that signals set while the context lasts; needs a running event loop.

    `on_hangup` is asked first at each SIGHUP, and returns whether it took care of it. A closed terminal sends
    that signal more than once (the kernel, then the shell), so it never counts as the second one.
    """
    stop, loop = Stop(), asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def received(number: int) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGHUP and on_hangup is not None and on_hangup():
            return
        if stop.signal_number is None:
            stop.signal_number = number
            stop.event.set()
            err(f"{name}: {first}")
        elif number != signal.SIGHUP:
            err(f"{name}: {second}")
            leave(128 + number)

    heeded = [number for number in _SIGNALS if not _is_ignored(number)]
    if on_hangup is not None and signal.SIGHUP not in heeded:
        heeded.append(signal.SIGHUP)
    for number in heeded:
        loop.add_signal_handler(number, partial(received, number))
    try:
        yield stop
    finally:
        for number in heeded:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])


def _is_ignored(number: int) -> bool:
    return number in _MAY_BE_IGNORED and signal.getsignal(number) is signal.SIG_IGN
