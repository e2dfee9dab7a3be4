"""A limit of bytes per second that all transfers share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

#: How much may go at once after a pause: what one connection has read ahead.
BURST_S = 0.1


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
