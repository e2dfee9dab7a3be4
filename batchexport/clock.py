"""Clocks that nobody can set: seconds that go on evenly whatever happens to the wall clock."""

from __future__ import annotations

import time

# Goes on while the machine is suspended, as the rest of the world does.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime_s() -> float:
    """Seconds since the start of the machine, time in suspension included where the system counts it."""
    return time.clock_gettime(_CLOCK)


class SteadyClock:
    """Seconds since the epoch as the wall clock showed them once, and evenly from there on.

    A wall clock that is set during a night neither makes a waiting row wait for an hour nor ends its wait.
    """

    def __init__(self) -> None:
        self._zero = time.time() - boottime_s()

    def __call__(self) -> float:
        """Now."""
        return self._zero + boottime_s()
