"""The gate under a clock of the test's own; asyncio-throttle's window reads the real one."""

import asyncio
import itertools
import time

import pytest

from batchexport.cloud.http.rate_limiter import (
    AIM,
    CREDIT_S,
    FLOOR_PER_S,
    SAFE_SHARE,
    RateLimiter,
    grown_rate,
)


class Clock:
    """Time that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def gate(rate: int) -> tuple[RateLimiter, Clock]:
    clock = Clock()
    return RateLimiter(rate, clock=clock, sleep=clock.sleep), clock


async def test_no_limit_lets_everybody_through_at_once() -> None:
    open_gate, clock = gate(0)
    for _ in range(1000):
        await open_gate.acquire()
    assert clock.slept == []
    assert open_gate.rate == 0


async def test_requests_are_spaced_evenly() -> None:
    paced, clock = gate(100)
    for _ in range(20):
        await paced.acquire()
    assert clock.slept, "nobody waited"
    assert all(0.0 < wait <= 0.0101 for wait in clock.slept)


async def test_callers_are_served_in_the_order_they_came() -> None:
    paced, _ = gate(1000)
    served = []

    async def caller(number: int) -> None:
        await paced.acquire()
        served.append(number)

    await asyncio.gather(*(caller(number) for number in range(50)))
    assert served == list(range(50))


async def test_a_real_second_never_holds_more_than_the_limit() -> None:
    """Real time: whatever the machine is busy with, the sliding window of asyncio-throttle holds."""
    paced, sent = RateLimiter(40), []

    async def caller() -> None:
        await paced.acquire()
        sent.append(time.monotonic())

    await asyncio.gather(*(caller() for _ in range(60)))
    most = max(sum(begin <= other < begin + 0.99 for other in sent) for begin in sent)
    assert most <= 40


async def test_a_cancelled_waiter_loses_no_turn() -> None:
    paced, _ = gate(10)
    await paced.acquire()
    waiters = [asyncio.create_task(paced.acquire()) for _ in range(5)]
    waiters[0].cancel()
    waiters[3].cancel()
    done = await asyncio.gather(*waiters, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in done] == [
        True,
        False,
        False,
        True,
        False,
    ]


async def test_a_pause_closes_the_gate_for_all_and_the_longer_one_counts() -> None:
    paced, clock = gate(0)
    paced.pause(5.0)
    paced.pause(2.0)
    began = clock.now
    await paced.acquire()
    assert clock.now - began == pytest.approx(5.0)


async def test_a_long_pause_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    paced, clock = gate(0)
    paced.pause(1.0)
    assert caplog.messages == []
    for _ in range(3):
        paced.pause(900.0)
    assert caplog.messages == ["the cloud asks to wait: no requests for 900 s"]
    clock.now += 900.0
    paced.pause(60.0)
    assert caplog.messages[1:] == ["the cloud asks to wait: no requests for 60 s"]


async def test_a_rejection_halves_the_rate_once_for_all_requests_under_way() -> None:
    paced, clock = gate(40)
    paced.throttled(clock())
    paced.throttled(clock())
    assert paced.rate == 20
    clock.now += 3.0
    paced.throttled(clock())
    assert paced.rate == 10


async def test_a_gateway_that_counts_by_the_second_rejects_once_for_what_was_sent_before_the_cut() -> None:
    paced, clock = gate(40)
    paced.throttled(clock())
    clock.now += 0.9
    paced.throttled(clock())
    assert paced.rate == 20
    clock.now += 0.2
    paced.throttled(clock())
    assert paced.rate == 10


async def test_answers_that_come_late_tell_nothing_of_the_rate_since() -> None:
    paced, clock = gate(40)
    sent_at = [await paced.acquire() for _ in range(40)]
    clock.now += 30.0
    paced.throttled(sent_at[0])
    clock.now += 30.0
    for each in sent_at[1:]:
        paced.throttled(each)
    assert paced.rate == 20
    paced.throttled(await paced.acquire())
    assert paced.rate == 10


async def test_the_rate_never_falls_below_the_floor() -> None:
    paced, clock = gate(1)
    for _ in range(10):
        paced.throttled(clock())
        clock.now += 3.0
    assert paced.rate == FLOOR_PER_S


async def test_a_lowered_rate_is_soon_just_under_the_rejected_one_and_creeps_from_there() -> None:
    paced, clock = gate(40)
    paced.throttled(clock())
    rates = []
    while paced.rate < 40:
        paced.succeeded()
        rates.append(paced.rate)
    assert rates == sorted(rates)
    assert 100 < rates.index(36) < 250  # six seconds' worth
    assert len(rates) - rates.index(36) > 50 * 36  # most of a minute's
    assert rates[-1] == 40


async def test_a_known_limit_that_is_met_again_costs_a_fifth_and_more_only_if_that_was_not_enough() -> None:
    paced, clock = gate(100)
    paced.throttled(clock())
    while paced.rate < 92:
        paced.succeeded()
    clock.now += 60
    paced.throttled(clock())  # nine tenths of 100 were reached, and the limit turns out to be at 92
    assert paced.rate == pytest.approx(92 * 0.8, abs=0.2)
    clock.now += 3
    paced.throttled(clock())  # before the rate was back: it is no longer where it was
    assert paced.rate == pytest.approx(92 * 0.4, abs=0.2)


async def test_far_past_a_known_limit_a_rejection_halves_the_rate() -> None:
    paced, clock = gate(0)
    paced.start_at(18.0)  # the limit is known to be about 20
    while paced.rate < 50:
        paced.succeeded()
    clock.now += 60
    paced.throttled(clock())
    assert paced.rate == pytest.approx(25, abs=0.6)


async def test_a_rate_never_grows_above_what_was_set() -> None:
    paced, clock = gate(2)
    paced.throttled(clock())
    for _ in range(1000):
        paced.succeeded()
    assert paced.rate == 2


async def test_well_past_the_last_rejection_the_rate_grows_faster_again() -> None:
    assert grown_rate(20.0, rejected_at=20.0) == pytest.approx(20.04)
    assert grown_rate(22.0, rejected_at=20.0) == 22.5
    assert grown_rate(100.0, rejected_at=20.0) == 102


async def test_a_learnt_rate_is_not_hurried_past() -> None:
    paced, _ = gate(50)
    paced.start_at(18.0)
    for _ in range(18):
        paced.succeeded()
    assert paced.rate == pytest.approx(18.036)


async def test_without_a_limit_a_rejection_sets_one_from_what_was_sent_and_it_grows_again() -> None:
    paced, clock = gate(0)
    for _ in range(60):
        await paced.acquire()
    clock.now += 1.0
    paced.throttled(clock())
    assert paced.rate == pytest.approx(30.0)
    for _ in range(200):
        paced.succeeded()
    assert paced.rate > 30.0


async def test_a_rate_learnt_earlier_is_where_it_starts_but_only_below_the_setting() -> None:
    paced, _ = gate(10)
    paced.start_at(50.0)
    assert paced.rate == 10
    paced.start_at(3.0)
    assert paced.rate == 3
    paced.start_at(0.0)
    assert paced.rate == 3


async def test_a_little_lateness_is_made_good_and_much_is_not() -> None:
    """A busy event loop must not cost rate; a long silence must not become a burst."""
    paced, clock = gate(10)
    await paced.acquire()
    clock.now += 1 / (10 * AIM) + CREDIT_S / 2  # the next caller comes half the credit late
    await paced.acquire()
    await paced.acquire()
    assert clock.slept[-1] == pytest.approx(1 / (10 * AIM) - CREDIT_S / 2)
    clock.now += 60.0
    await paced.acquire()
    await paced.acquire()
    assert clock.slept[-1] == pytest.approx(1 / (10 * AIM) - CREDIT_S)


async def test_what_was_learnt_was_just_under_a_limit_and_is_left_by_creeping() -> None:
    """A rate learnt in an earlier run is a share of the one that was rejected, and so is passed slowly."""
    paced, _ = gate(1000)
    paced.start_at(9.0)
    rates = [paced.rate]
    while rates[-1] < 9.0 / SAFE_SHARE:
        paced.succeeded()
        rates.append(paced.rate)
    steps = [after - before for before, after in itertools.pairwise(rates)]
    assert max(steps) < 0.1


async def test_the_rate_that_is_guessed_is_that_of_the_last_seconds() -> None:
    """What was sent long ago, before a silence, says nothing of the rate that was rejected."""
    open_gate, clock = gate(0)
    for _ in range(5):
        await open_gate.acquire()
    clock.now += 600.0
    for _ in range(40):
        await open_gate.acquire()
    clock.now += 1.0
    open_gate.throttled(clock.now)
    assert open_gate.rate == pytest.approx(20.0, rel=0.1)
