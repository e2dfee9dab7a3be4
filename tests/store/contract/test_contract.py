"""What every back end of the store has to keep. A new one is added to BACK_ENDS, and passes all of this.

How SQLite keeps it (plans, locks, full disks, damaged files) is tested beside this.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from batchexport.changes import (
    Ended,
    Held,
    JobsReleased,
    RateLearned,
    Rejected,
    Requeued,
    ResourcesAcquiring,
    ResourcesHeld,
    ResourcesReleased,
    SizesLearned,
    Snoozed,
)
from batchexport.errors import LeaseLostError, StateError, StateInUseError
from batchexport.model import JobState, Server
from batchexport.store import Reader, StateFile, StateReader, Store, Work
from tests.store.making import (
    DONE,
    REFUSED,
    SERVER,
    accept,
    adopt,
    claim,
    found,
    make,
    needs,
    servers,
    volume,
)

#: By name: how a store of so many jobs of one target is made, opened for work, and looked at.
BACK_ENDS: dict[
    str,
    tuple[
        Callable[[Path, int], Path],
        Callable[[Path], AbstractAsyncContextManager[Store]],
        Callable[[Path], Reader],
    ],
] = {"sqlite": (make, StateFile.open, StateReader), "postgres": (make, StateFile.open, StateReader)}


class Bench:
    """One store, and what opens it."""

    def __init__(self, name: str, path: Path) -> None:
        create, self._open, self._look = BACK_ENDS[name]
        self._path = create(path, 6)

    def open(self) -> AbstractAsyncContextManager[Store]:
        return self._open(self._path)

    def states(self) -> list[str]:
        with self._look(self._path) as reader:
            return [str(job.state) for job in reader.jobs()]


@pytest.fixture(params=BACK_ENDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    is_file = request.param == "sqlite"
    return Bench(request.param, tmp_path / "march.state" if is_file else request.getfixturevalue("run_path"))


@pytest.fixture
async def store(bench: Bench) -> AsyncIterator[Store]:
    async with bench.open() as opened:
        yield opened


@pytest.fixture
async def work(store: Store) -> Work:
    return await store.take(1)


async def test_a_claimed_job_is_in_doubt_until_its_answer_is_there(work: Work, bench: Bench) -> None:
    (job,) = await claim(work)
    assert bench.states()[0] == "submitting"
    assert [each.job_id for each in await work.jobs_in(JobState.SUBMITTING)] == [job.job_id]
    accept(work, job)
    (exporting,) = await work.jobs_in(JobState.EXPORTING)
    await work.commit(Ended(job=exporting, after=JobState.SUCCEEDED, ending=DONE, at_s=110.0))
    assert bench.states()[0] == "succeeded"


async def test_no_job_is_claimed_twice(work: Work) -> None:
    claimed = [job.job_id for job in await claim(work, 4) + await claim(work, 4) + await claim(work, 4)]
    assert sorted(claimed) == [1, 2, 3, 4, 5, 6]


async def test_pending_jobs_are_read_on_from_any_of_them(work: Work) -> None:
    first, second = await claim(work, 2)
    accept(work, first)
    work.apply(Requeued(job=second, ending=REFUSED, at_s=105.0, next_at=500.0, counted=True))
    await work.flush()
    pending = await work.open_jobs(pending_after=0)
    assert [(row.job.job_id, row.state) for row in pending] == [(n, "pending") for n in range(2, 7)]
    assert [row.job.job_id for row in await work.open_jobs(pending_after=5)] == [6]
    assert await work.open_jobs(pending_after=6) == []


async def test_changes_are_kept_in_their_order_and_durable_with_the_flush(work: Work, bench: Bench) -> None:
    first, second, third = await claim(work, 3)
    work.apply(
        Requeued(job=first, ending=REFUSED, at_s=105.0, next_at=500.0, counted=True),
        Snoozed(job=second, next_at=0.0),
        Ended(job=third, after=JobState.AMBIGUOUS, ending=REFUSED, at_s=105.0),
    )
    await work.flush()
    assert bench.states()[:3] == ["pending", "pending", "ambiguous"]
    (ambiguous,) = await work.jobs_in(JobState.AMBIGUOUS)
    adopt(work, ambiguous)
    await work.flush()
    assert bench.states()[2] == "exporting"


async def test_a_change_that_may_not_be_is_left_out_and_told(work: Work, bench: Bench) -> None:
    (job,) = await claim(work)
    work.apply(Snoozed(job=job, next_at=0.0))
    accept(work, job)
    with pytest.raises(StateError, match="cannot become exporting"):
        await work.flush()
    assert bench.states()[0] == "pending"


async def test_what_is_committed_together_is_all_or_none(work: Work, bench: Bench) -> None:
    first, second = await claim(work, 2)
    await work.commit(Snoozed(job=first, next_at=0.0))
    with pytest.raises(StateError):
        await work.commit(
            SizesLearned({volume(2): 9}), Snoozed(job=second, next_at=0.0), Snoozed(job=first, next_at=0.0)
        )
    assert bench.states()[:2] == ["pending", "submitting"]


async def test_one_process_at_a_time_has_a_target(work: Work, bench: Bench) -> None:
    async with bench.open() as other:
        with pytest.raises(StateInUseError):
            await other.take(1)
        await work.release()
        with pytest.raises(LeaseLostError):
            work.check_owned()
        taken = await other.take(1)
        assert taken.epoch == work.epoch + 1
        await taken.release()


async def test_what_was_learned_is_there_for_the_next_process(bench: Bench) -> None:
    async with bench.open() as store:
        work = await store.take(1)
        work.apply(RateLearned(2.5), SizesLearned({volume(1): 10}))
        await work.release()
    async with bench.open() as store:
        assert [target.requests_per_second for target in store.targets] == [2.5]
        pending = await (await store.take(1)).pending()
        assert (pending.jobs, pending.unchecked) == (6, 5)


async def test_a_held_job_is_claimed_only_when_it_is_released(work: Work) -> None:
    (first,) = await work.unchecked(limit=1)
    work.apply(Held(job=first.job, needs=needs("web")))
    assert [job.job_id for job in await claim(work, 9)] == [2, 3, 4, 5, 6]
    web = Server(server_id="web", status="active")
    await work.commit(
        ResourcesAcquiring(found=[found(web)], at_s=1.0), ResourcesHeld(resources=servers("web"), at_s=2.0)
    )
    (held,) = await work.resources.held_jobs(SERVER, after=0, limit=9)
    await work.commit(JobsReleased(jobs=[held.job], at_s=50.0))
    assert [job.job_id for job in await claim(work, 9)] == [1]


async def test_no_resource_is_released_under_an_export_and_what_is_pending_is_held(work: Work) -> None:
    first, second = await work.unchecked(limit=2)
    work.apply(*(Held(job=each.job, needs=needs("web")) for each in (first, second)))
    web = Server(server_id="web", status="active")
    await work.commit(
        ResourcesAcquiring(found=[found(web)], at_s=1.0), ResourcesHeld(resources=servers("web"), at_s=2.0)
    )
    await work.commit(JobsReleased(jobs=[first.job, second.job], at_s=50.0))
    (job,) = await claim(work)
    assert await work.resources.start_release(servers("web")) == frozenset()
    work.apply(Ended(job=job, after=JobState.FAILED, ending=REFUSED, at_s=60.0))
    assert await work.resources.start_release(servers("web")) == set(servers("web"))
    assert [each.job.job_id for each in await work.resources.held_jobs(SERVER, after=0, limit=9)] == [2]
    await work.commit(ResourcesReleased(resources=servers("web"), at_s=70.0))
    assert await work.resources.outstanding(SERVER) == []


async def test_rejected_jobs_come_back_by_retry(work: Work, bench: Bench) -> None:
    rejected = await work.unchecked(limit=6)
    work.apply(
        *(Rejected(job=each.job, after=JobState.FAILED, ending=REFUSED, at_s=1.0) for each in rejected)
    )
    assert await work.retry() == 6
    assert bench.states() == ["pending"] * 6
