"""Ends a transfer whose destination takes nothing any more, or never says what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from batchexport.errors import OutcomeUnknownError

#: A side that moves no byte for so long is given up; most gateways give up earlier.
STALLED_AFTER_S = 120.0
#: Bytes per second of a destination that has everything and does not answer yet: a gateway may pass an image
#: on only when it has all of it, a checksum may be computed over it. Slow disks read and write 10 MB/s.
SLOWEST_ANSWER = 8 * 2**20
_sleep = asyncio.sleep


class StallWatch:
    """Knows since when the other side has been asked for nothing. Times are those of the event loop."""

    def __init__(self, size: int) -> None:
        """`size` of the whole transfer, in bytes."""
        self._size = size
        self._given = 0
        self._given_at = 0.0
        self._is_asking = False

    def asked(self) -> None:
        """The destination wants a piece: it is the source that is waited for."""
        self._is_asking = True

    def gave(self, size: int) -> None:
        """It has a piece, and is to take it now."""
        self._is_asking = False
        self._given += size
        self._given_at = asyncio.get_running_loop().time()

    @asynccontextmanager
    async def limit(self, *, patience_s: float = 0.0) -> AsyncIterator[None]:
        """Raises OutcomeUnknownError inside the context once the destination has stalled.

        `patience_s` is what it may take longer than `STALLED_AFTER_S` for a piece: it sends several at once.
        """
        self._given_at = asyncio.get_running_loop().time()
        timeout = asyncio.timeout(None)
        try:
            async with timeout:
                watching = asyncio.create_task(self._watch(timeout, patience_s))
                try:
                    yield
                finally:
                    watching.cancel()
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise OutcomeUnknownError(self._words(patience_s)) from error

    def _allowed_s(self, patience_s: float) -> float:
        answer_s = self._size / SLOWEST_ANSWER if self._given >= self._size else 0.0
        return STALLED_AFTER_S + patience_s + answer_s

    async def _watch(self, timeout: asyncio.Timeout, patience_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            allowed_s = self._allowed_s(patience_s)
            left_s = allowed_s if self._is_asking else self._given_at + allowed_s - loop.time()
            if left_s <= 0:
                timeout.reschedule(loop.time())
                return
            await _sleep(left_s)

    def _words(self, patience_s: float) -> str:
        allowed_s = self._allowed_s(patience_s)
        if self._given >= self._size:
            return f"the destination has all {self._size:,} bytes, and gave no answer for {allowed_s:.0f} s"
        so_far = f"{self._given:,} of {self._size:,} bytes"
        return f"the destination took no data for {allowed_s:.0f} s, after {so_far}"
