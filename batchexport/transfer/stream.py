"""The data of one source as a stream: read ahead by a few MiB, hashed in a thread, resumed where it broke."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from functools import cache
from types import TracebackType
from typing import Self

from batchexport.errors import BatchExportError, TransientError
from batchexport.retry import READS
from batchexport.transfer.bandwidth import Bandwidth
from batchexport.transfer.stall import STALLED_AFTER_S, StallWatch

log = logging.getLogger(__name__)

#: Opens the source at a byte: the pieces from there on. Raises TransientError where another try may help.
OpenFrom = Callable[[int], AbstractAsyncContextManager[AsyncIterator[bytes]]]

#: Read ahead of who takes the data: enough to keep both connections busy.
AHEAD_BYTES = 4 * 2**20
#: Hashed in one go: the way to a thread and back costs as much as hashing some 50 KiB.
HASHED_AT_ONCE = 2**20
#: Tries in a row that bring no byte.
MAX_FAILURES = 6


class SourceChangedError(BatchExportError):
    """The source has more data than it told, or than before: what was read is no whole."""


class WrongDataError(BatchExportError):
    """The data that came is not what the source says that it has: nothing was kept of it."""


class Stream:
    """The data of a source, once, in order. Iterate over it inside its context.

    After the last piece `hashes` has the digests. Where who takes the data fails because the source did,
    `error` is why.
    """

    def __init__(
        self,
        open_from: OpenFrom,
        *,
        size: int,
        algorithms: Sequence[str] = ("sha512",),
        bandwidth: Bandwidth | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`size` is what the source told; `on_bytes` hears how many bytes each piece has."""
        self.size = size
        self.error: BaseException | None = None
        self.stall = StallWatch(size)  #: of who takes the data
        self.resumed = 0  #: how often the source broke and was asked again
        self._open_from = open_from
        self._bandwidth = bandwidth or Bandwidth()
        self._on_bytes = on_bytes
        self._sleep = sleep
        self._hashers = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
        self._hashing: asyncio.Future[None] | None = None
        self._unhashed: list[bytes] = []
        self._unhashed_bytes = 0
        self._read = 0
        self._pieces: deque[bytes] = deque()
        self._ahead = 0
        self._changed = asyncio.Condition()
        self._is_over = False
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reader is not None
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        if self._hashing is not None:
            with suppress(asyncio.CancelledError):
                await self._hashing

    async def digests(self) -> Mapping[str, str]:
        """`hashes`, complete. Raises what ended the source.

        Who knows the size takes the last piece and asks for no more: the thread may still be hashing then.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_over)
        if self.error is not None:
            raise self.error
        return self.hashes

    @property
    def hashes(self) -> Mapping[str, str]:
        """Hexadecimal digests by the names of their algorithms; complete once the iteration has ended."""
        return {name: hasher.hexdigest() for name, hasher in self._hashers.items()}

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self.stall.asked()
        async with self._changed:
            while not self._pieces and not self._is_over:
                await self._changed.wait()
            if not self._pieces:
                if self.error is not None:
                    raise self.error
                self.stall.gave(0)
                raise StopAsyncIteration
            piece = self._pieces.popleft()
            self._ahead -= len(piece)
            self._changed.notify_all()
        self.stall.gave(len(piece))
        self._on_bytes(len(piece))
        return piece

    async def _run(self) -> None:
        try:
            await self._read_all()
            await self._hash_rest()
        except Exception as error:  # raised to who takes the data
            self.error = error
        finally:
            async with self._changed:
                self._is_over = True
                self._changed.notify_all()

    async def _read_all(self) -> None:
        failures = 0
        while self._read < self.size:
            before = self._read
            try:
                await self._read_from(before)
                if self._read < self.size:
                    raise TransientError(f"the data ended at byte {self._read} of {self.size}")
            except (TransientError, TimeoutError) as error:
                failures = 1 if self._read > before else failures + 1
                if failures > MAX_FAILURES:
                    raise
                self.resumed += 1
                extra = {"action": "download_resumed", "offset": self._read, "size": self.size}
                words = str(error) or f"no data for {STALLED_AFTER_S:.0f} s"
                log.info("goes on at byte %d of %d: %s", self._read, self.size, words, extra=extra)
                await self._sleep(READS.delay_s(failures))

    async def _read_from(self, offset: int) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(STALLED_AFTER_S) as limit, self._open_from(offset) as pieces:
            async for piece in pieces:
                limit.reschedule(None)  # whoever takes the data may be slow
                if self._read + len(piece) > self.size:
                    raise SourceChangedError(f"the source has more than the {self.size} bytes that it told")
                await self._bandwidth.take(len(piece))
                await self._hash(piece)
                await self._put(piece)
                limit.reschedule(loop.time() + STALLED_AFTER_S)

    async def _put(self, piece: bytes) -> None:
        async with self._changed:
            while self._ahead >= AHEAD_BYTES:
                await self._changed.wait()
            self._pieces.append(piece)
            self._ahead += len(piece)
            self._read += len(piece)
            self._changed.notify_all()

    async def _hash(self, piece: bytes) -> None:
        self._unhashed.append(piece)
        self._unhashed_bytes += len(piece)
        if self._unhashed_bytes >= HASHED_AT_ONCE:
            await self._start_hashing()

    async def _start_hashing(self) -> None:
        if self._hashing is not None:
            await self._hashing
        pieces, self._unhashed, self._unhashed_bytes = self._unhashed, [], 0
        self._hashing = asyncio.get_running_loop().run_in_executor(_threads(), self._update, pieces)

    async def _hash_rest(self) -> None:
        await self._start_hashing()
        assert self._hashing is not None
        await self._hashing

    def _update(self, pieces: Sequence[bytes]) -> None:
        for hasher in self._hashers.values():
            for piece in pieces:
                hasher.update(piece)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="hashing")
