"""The virtual clock of these tests: it must not move for anything but the next timer."""

import asyncio
import time

import pytest

from tests.engine.conftest import Bench
from tests.engine.fast_time import START_S, fast_now, let_pass, run_fast

YEAR_S = 365 * 86_400.0


def test_every_test_begins_at_the_same_time() -> None:
    assert fast_now() == START_S
    let_pass(YEAR_S)


test_and_so_does_the_next_one = test_every_test_begins_at_the_same_time


def test_a_year_of_sleep_takes_no_time() -> None:
    began = time.monotonic()
    before = fast_now()
    run_fast(asyncio.sleep(YEAR_S))
    assert fast_now() - before == pytest.approx(YEAR_S)
    assert time.monotonic() - began < 60


def test_time_stands_still_while_a_thread_works() -> None:
    async def go() -> float:
        before = fast_now()
        tick = asyncio.ensure_future(asyncio.sleep(0.001))
        await asyncio.to_thread(time.sleep, 0.05)
        assert fast_now() == before
        assert not tick.done()
        await tick
        return fast_now() - before

    assert run_fast(go()) == pytest.approx(0.001, abs=1e-5)


def test_time_stands_still_while_a_commit_is_under_way(bench: Bench) -> None:
    def slowly(db: object) -> str:
        time.sleep(0.05)
        return "done"

    async def go() -> None:
        state = bench.open()
        try:
            tick = asyncio.ensure_future(asyncio.sleep(0.001))
            answer = state._writer.ask(slowly)
            assert await answer == "done"
            assert not tick.done()
        finally:
            await state.close()

    bench.load(["16369c5d-384d-4e64-b37a-56d898769362"])
    run_fast(go())


def test_a_loop_that_is_always_ready_sees_no_time_pass() -> None:
    async def go() -> float:
        before = fast_now()
        for _ in range(1000):
            await asyncio.sleep(0)
        return fast_now() - before

    assert run_fast(go()) == 0


def test_a_second_loop_goes_on_where_the_first_ended() -> None:
    async def now() -> float:
        return asyncio.get_running_loop().time()

    first = run_fast(now())
    let_pass(31.0)
    assert run_fast(now()) == first + 31.0
