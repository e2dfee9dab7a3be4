"""A limit of bytes per second that all transfers share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

#: How much may go at once after a pause: what one connection has read ahead.
BURST_S = 0.1
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


class Bandwidth:
    """Lets bytes pass at a rate. Each caller waits for its own bytes, in the order in which they asked."""

    def __init__(
        self,
        bytes_per_second: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """None = not limited."""
        self._rate = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._free_at = 0.0  # when everything that was let pass so far has passed

    async def take(self, size: int) -> None:
        """Wait until so many bytes may pass."""
        if self._rate is None:
            return
        now = self._clock()
        self._free_at = max(now - BURST_S, self._free_at) + size / self._rate
        if self._free_at > now:
            await self._sleep(self._free_at - now)


def read_rate(text: str) -> float:
    """Bytes per second from `200M`, `1.5G` or `500000`; K, M and G are powers of 1024, as with curl.

    Raises ValueError for anything else.
    """
    number, unit = text.strip(), ""
    if number[-1:].upper() in ("K", "M", "G"):
        number, unit = number[:-1], number[-1].upper()
    try:
        rate = float(number) * _UNITS[unit]
    except ValueError:
        rate = 0.0
    if not 1 <= rate < float("inf"):
        raise ValueError(f"{text!r} is not a number of bytes per second, such as 200M or 1.5G")
    return rate
