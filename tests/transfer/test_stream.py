from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from batchexport.errors import NotFoundError, OutcomeUnknownError, TransientError
from batchexport.transfer import SourceChangedError, Stream, stall
from batchexport.transfer.stream import AHEAD_BYTES, MAX_FAILURES

DATA = random.Random(14).randbytes(3_000_000)


class Source:
    """Sends the data in odd pieces, and breaks at these bytes, once at each."""

    def __init__(self, data: bytes = DATA, *, breaks_at: list[int] | None = None, ends: bool = False) -> None:
        self.data = data
        self.breaks_at = breaks_at or []
        self.ends = ends
        self.opened: list[int] = []
        self.open = 0
        self.sent = 0

    @asynccontextmanager
    async def __call__(self, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        self.opened.append(offset)
        self.open += 1
        try:
            yield self._pieces(offset)
        finally:
            self.open -= 1

    async def _pieces(self, offset: int) -> AsyncIterator[bytes]:
        while offset < len(self.data):
            end = min(offset + 70_001, len(self.data))
            if self.breaks_at and end > self.breaks_at[0]:
                end = self.breaks_at.pop(0)
                if end > offset:
                    yield self.data[offset:end]
                if self.ends:
                    return
                raise TransientError("the connection broke")
            yield self.data[offset:end]
            self.sent = end
            offset = end
            await asyncio.sleep(0)


async def no_sleep(_: float) -> None:
    await asyncio.sleep(0)


def stream(source: Any, size: int | None = None, **options: Any) -> Stream:
    return Stream(source, size=len(source.data) if size is None else size, sleep=no_sleep, **options)


async def taken(stream: Stream) -> bytes:
    async with stream:
        return b"".join([piece async for piece in stream])


async def test_what_comes_out_is_what_is_in_the_source_with_its_hashes() -> None:
    passing = stream(Source(), algorithms=("sha512", "md5"))
    assert await taken(passing) == DATA
    assert passing.hashes == {
        "sha512": hashlib.sha512(DATA).hexdigest(),
        "md5": hashlib.md5(DATA, usedforsecurity=False).hexdigest(),
    }


@pytest.mark.parametrize("ends", [False, True], ids=["breaks", "ends early"])
async def test_a_broken_source_goes_on_where_it_stopped(ends: bool) -> None:
    source = Source(breaks_at=[1, 999_999, 2_999_999], ends=ends)
    passing = stream(source)
    assert await taken(passing) == DATA
    assert source.opened == [0, 1, 999_999, 2_999_999]
    assert passing.resumed == 3
    assert passing.hashes["sha512"] == hashlib.sha512(DATA).hexdigest()


async def test_a_source_that_never_gets_further_is_given_up_with_its_own_words() -> None:
    source = Source(breaks_at=[500_000] * 50)
    with pytest.raises(TransientError, match="the connection broke"):
        await taken(stream(source))
    assert source.opened == [0, *[500_000] * MAX_FAILURES]


async def test_an_image_that_is_gone_is_not_asked_again() -> None:
    @asynccontextmanager
    async def gone(_: int) -> AsyncIterator[AsyncIterator[bytes]]:
        raise NotFoundError("no such image")
        yield

    passing = Stream(gone, size=5)
    with pytest.raises(NotFoundError):
        await taken(passing)
    assert isinstance(passing.error, NotFoundError)


async def test_a_source_that_has_more_than_it_told_is_no_whole() -> None:
    with pytest.raises(SourceChangedError, match="more than"):
        await taken(stream(Source(), size=len(DATA) - 1))


async def test_it_reads_only_a_little_ahead_of_who_takes_the_data() -> None:
    source = Source(bytes(40 * 2**20))
    async with stream(source) as passing:
        await anext(passing)
        for _ in range(2000):
            await asyncio.sleep(0)
        assert source.sent < AHEAD_BYTES + 3 * 2**20


async def test_whoever_leaves_early_leaves_no_connection_behind() -> None:
    source = Source()
    with pytest.raises(ValueError, match="the destination"):
        async with stream(source) as passing:
            await anext(passing)
            raise ValueError("the destination broke")
    assert source.open == 0


async def test_bytes_are_counted_when_they_are_taken() -> None:
    counted: list[int] = []
    async with stream(Source(), on_bytes=counted.append) as passing:
        assert not counted
        await anext(passing)
        assert counted == [70_001]


async def test_who_stops_at_the_last_byte_gets_complete_digests() -> None:
    """aiohttp asks for no piece after the last one: the digests were those of a part of the data."""
    for _ in range(20):
        async with stream(Source(bytes(2_500_000))) as passing:
            taken_bytes = 0
            while taken_bytes < 2_500_000:
                taken_bytes += len(await anext(passing))
            hashes = await passing.digests()
        assert hashes["sha512"] == hashlib.sha512(bytes(2_500_000)).hexdigest()


async def test_nothing_has_a_hash_too() -> None:
    passing = stream(Source(b""))
    assert await taken(passing) == b""
    assert passing.hashes["sha512"] == hashlib.sha512().hexdigest()


async def test_a_destination_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stall, "STALLED_AFTER_S", 0.05)
    passing = stream(Source())
    with pytest.raises(OutcomeUnknownError, match=r"took no data .* of 3,000,000 bytes"):
        async with passing, passing.stall.limit():
            await anext(passing)
            await asyncio.Event().wait()


async def test_a_destination_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stall, "STALLED_AFTER_S", 0.05)
    monkeypatch.setattr(stall, "SLOWEST_ANSWER", 10 * len(DATA))
    passing = stream(Source())
    with pytest.raises(OutcomeUnknownError, match="gave no answer"):
        async with passing, passing.stall.limit():
            async for _ in passing:
                pass
            await asyncio.Event().wait()


async def test_a_slow_source_is_not_laid_to_its_destination(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the time that is allowed for an image of this size."""
    monkeypatch.setattr(stall, "STALLED_AFTER_S", 0.02)
    monkeypatch.setattr(stall, "SLOWEST_ANSWER", 1)
    looks: list[float] = []
    looked_thrice = asyncio.Event()
    source = Source()
    sent = source._pieces

    async def slow(offset: int) -> AsyncIterator[bytes]:
        async for piece in sent(offset):
            yield piece
            await looked_thrice.wait()

    async def looked(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            looked_thrice.set()
        await asyncio.sleep(seconds)

    monkeypatch.setattr(source, "_pieces", slow)
    monkeypatch.setattr(stall, "_sleep", looked)
    passing = stream(source)
    async with passing, passing.stall.limit():
        got = b"".join([piece async for piece in passing])
        await asyncio.sleep(0.1)
    assert got == DATA
    assert len(looks) >= 3


async def test_a_time_limit_of_somebody_else_stays_theirs() -> None:
    passing = stream(Source())
    with pytest.raises(TimeoutError):
        async with passing, passing.stall.limit():
            raise TimeoutError
