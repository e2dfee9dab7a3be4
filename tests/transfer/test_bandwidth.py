from __future__ import annotations

import pytest

from batchexport.config.values import bytes_per_second
from batchexport.transfer.bandwidth import BURST_S, Bandwidth


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_bytes_pass_at_the_rate() -> None:
    clock = Clock()
    limit = Bandwidth(1000, clock=clock, sleep=clock.sleep)
    for _ in range(100):
        await limit.take(100)
    assert clock.now == pytest.approx(1000 + 10 - BURST_S)


async def test_a_pause_saves_no_more_than_the_burst() -> None:
    clock = Clock()
    limit = Bandwidth(1000, clock=clock, sleep=clock.sleep)
    await limit.take(1000)
    clock.now += 3600
    began = clock.now
    await limit.take(1000)
    assert clock.now - began == pytest.approx(1 - BURST_S)


async def test_without_a_rate_nothing_waits() -> None:
    await Bandwidth(None, sleep=lambda _: pytest.fail("it waits")).take(10**12)


@pytest.mark.parametrize(
    ("text", "rate"), [("200M", 200 * 2**20), ("1.5g", 1.5 * 2**30), ("64k", 65536), ("1000", 1000)]
)
def test_a_rate_is_read_as_curl_reads_it(text: str, rate: float) -> None:
    assert bytes_per_second(text) == rate


@pytest.mark.parametrize("text", ["", "M", "fast", "0", "-5M", "nan", "inf", "1e400", "5T"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="bytes per second"):
        bytes_per_second(text)
