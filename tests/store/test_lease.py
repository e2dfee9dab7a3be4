from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.errors import LeaseLostError, StateCorruptError, StateError, StateInUseError
from batchexport.model import JobState
from batchexport.store import StateFile, StateReader
from tests.store.making import accept, alter, ask, claim, states


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def test_each_take_raises_the_epoch(made: Path) -> None:
    async with StateFile.open(made) as state:
        first = await state.take(1)
        await first.release()
        second = await state.take(1)
        assert (first.epoch, second.epoch) == (1, 2)


async def test_a_target_that_is_not_there_is_told(made: Path) -> None:
    async with StateFile.open(made) as state:
        with pytest.raises(StateError, match="no target 9"):
            await state.take(9)


async def test_a_living_owner_is_named_and_not_replaced(made: Path) -> None:
    async with StateFile.open(made) as one, StateFile.open(made) as other:
        await one.take(1)
        with pytest.raises(StateInUseError, match=r"in use by process \d+ on .+, since .+ UTC") as caught:
            await other.take(1)
        assert "stop it (kill -TERM" in str(caught.value.hint)


async def test_a_released_target_is_free_at_once(made: Path) -> None:
    async with StateFile.open(made) as one, StateFile.open(made) as other:
        await (await one.take(1)).release()
        work = await other.take(1)
        assert work.epoch == 2


async def test_a_frozen_owner_is_replaced_when_its_lease_has_run_out(made: Path) -> None:
    now = Clock()
    async with StateFile.open(made, now=now) as one, StateFile.open(made, now=now) as other:
        await one.take(1, ttl_s=30.0)
        now.now += 29.9
        with pytest.raises(StateInUseError):
            await other.take(1)
        now.now += 0.1
        work = await other.take(1)
        assert work.epoch == 2


async def test_a_renewed_lease_is_kept_from_others_for_longer(made: Path) -> None:
    now = Clock()
    async with StateFile.open(made, now=now) as one, StateFile.open(made, now=now) as other:
        work = await one.take(1, ttl_s=30.0)
        now.now += 20.0
        await work.renew()
        now.now += 29.0
        with pytest.raises(StateInUseError):
            await other.take(1)


async def test_an_overtaken_owner_writes_nothing_more(made: Path) -> None:
    now = Clock()
    async with StateFile.open(made, now=now) as frozen, StateFile.open(made, now=now) as taker:
        work = await frozen.take(1)
        (job,) = await claim(work)
        now.now += 60.0
        await taker.take(1)
        accept(work, job)
        await frozen.flush()
        assert states(made) == [JobState.SUBMITTING, JobState.PENDING, JobState.PENDING]
        with pytest.raises(LeaseLostError, match="another process took it over"):
            accept(work, job)


@pytest.mark.parametrize("call", ["renew", "claim", "pending", "unchecked", "release", "next_due_s"])
async def test_an_overtaken_owner_hears_of_it_whatever_it_asks(made: Path, call: str) -> None:
    now = Clock()
    async with StateFile.open(made, now=now) as frozen, StateFile.open(made, now=now) as taker:
        work = await frozen.take(1)
        now.now += 60.0
        await taker.take(1)
        with pytest.raises(LeaseLostError):
            await (claim(work) if call == "claim" else getattr(work, call)())
        with pytest.raises(LeaseLostError):
            work.check_owned()
    assert states(made) == [JobState.PENDING] * 3


async def test_one_lost_lease_does_not_touch_the_changes_of_another(made: Path) -> None:
    now = Clock()
    async with StateFile.open(made, now=now) as state:
        old = await state.take(1)
        one, two = await claim(old, 2)
        now.now += 60.0
        new = await state.take(1)
        accept(old, one)
        accept(new, two)
        await state.flush()
    assert states(made) == [JobState.SUBMITTING, JobState.EXPORTING, JobState.PENDING]


async def test_a_released_lease_lets_nothing_more_through(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        await work.release()
        with pytest.raises(LeaseLostError, match="it was released"):
            work.check_owned()
        with pytest.raises(LeaseLostError, match="it was released"):
            accept(work, job)


async def test_a_lease_runs_out_here_five_seconds_before_it_does_for_others(made: Path) -> None:
    clock = Clock()
    async with StateFile.open(made, clock=clock) as state:
        work = await state.take(1, ttl_s=30.0)
        clock.now += 24.9
        assert work.fresh
        clock.now += 0.1
        assert not work.fresh
        work.check_owned()  # not fresh is not lost: nobody has taken it yet


async def test_a_renewal_that_comes_late_but_first_makes_the_lease_good_again(made: Path) -> None:
    clock = Clock()
    async with StateFile.open(made, clock=clock) as state:
        work = await state.take(1)
        clock.now += 100.0
        await work.renew()
        assert work.fresh
        clock.now += 25.0
        assert not work.fresh


async def test_results_are_written_even_after_the_time_has_run_out(made: Path) -> None:
    clock = Clock()
    async with StateFile.open(made, clock=clock) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        clock.now += 100.0
        accept(work, job)
    assert states(made)[0] == JobState.EXPORTING


async def test_an_owner_that_cannot_be_read_is_told_and_not_replaced(made: Path) -> None:
    alter(made, "UPDATE target SET owner = 'nobody', lease_until = 1")
    async with StateFile.open(made) as state:
        with pytest.raises(StateCorruptError, match="the owner 'nobody'"):
            await state.take(1)
    assert ask(made, "SELECT epoch FROM target") == [(0,)]


async def test_the_reader_names_who_holds_a_target(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        with StateReader(made) as reader:
            (holder,) = reader.processes().holders
            assert holder.alive is True
            await work.release()
            assert reader.processes().holders == []
