from __future__ import annotations

import asyncio
from pathlib import Path

from batchexport.changes import Reopened, Requeued
from batchexport.model import ImageOptions, JobState
from batchexport.store import StateFile
from tests.store.making import REFUSED, THERE, accept, ask, bring, claim, make, row, states, volume


async def test_new_jobs_are_handed_out_in_the_order_of_the_list(path: Path) -> None:
    make(path, 10)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        first, second = await claim(work, 4), await claim(work, 4)
        assert [job.job_id for job in first + second] == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_a_claimed_job_knows_all_that_is_needed_to_send_it(path: Path) -> None:
    options = ImageOptions(disk_format="zvhd2", os_type="linux")
    make(path, [row(1, options=options)])
    async with StateFile.open(path) as state:
        (job,) = await (await state.take(1)).claim(1, now_s=100.0, server_now_s=90.0)
    assert (job.job_id, job.volume_id, job.image_name) == (1, volume(1), f"{volume(1)}-run")
    assert job.options == options
    assert (job.attempt, job.attempts_before) == (1, 0)
    assert (job.intent_at, job.first_intent_at) == (90.0, 90.0)
    assert (job.image_id, job.request_id, job.accepted_at, job.deadline_at) == (None, None, None, None)


async def test_what_was_claimed_is_on_disk_when_it_is_handed_out(made: Path) -> None:
    async with StateFile.open(made) as state:
        await claim(await state.take(1), 2)
        assert states(made) == [JobState.SUBMITTING, JobState.SUBMITTING, JobState.PENDING]


async def test_a_retry_that_is_due_comes_before_new_jobs(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        work.apply(Requeued(job=job, ending=REFUSED, at_s=110.0, next_at=150.0, counted=True))
        assert [one.job_id for one in await claim(work, 1, now_s=149.0)] == [2]
        assert [one.job_id for one in await claim(work, 2, now_s=150.0)] == [1, 3]


async def test_the_retry_that_waited_longest_comes_first(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        for job, next_at in zip(await claim(work, 3), (130.0, 110.0, 120.0), strict=True):
            work.apply(Requeued(job=job, ending=REFUSED, at_s=105.0, next_at=next_at, counted=True))
        assert [one.job_id for one in await claim(work, 2, now_s=200.0)] == [2, 3]


async def test_a_target_hands_out_its_own_jobs_only(path: Path) -> None:
    make(path, [row(1), row(2, target=THERE), row(3)])
    async with StateFile.open(path) as state:
        here, there = await state.take(1), await state.take(2)
        assert [job.job_id for job in await claim(there, 5)] == [2]
        assert [job.job_id for job in await claim(here, 5)] == [1, 3]


async def test_a_limit_of_none_hands_out_none(made: Path) -> None:
    async with StateFile.open(made) as state:
        assert await claim(await state.take(1), 0) == []


async def test_the_next_job_is_due_at_once_while_one_is_new(made: Path) -> None:
    async with StateFile.open(made) as state:
        assert await (await state.take(1)).next_due_s() == 0.0


async def test_the_next_job_is_due_when_the_first_retry_is(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        jobs = await claim(work, 3)
        assert await work.next_due_s() is None
        for job, next_at in zip(jobs, (130.0, 110.0, 120.0), strict=True):
            work.apply(Requeued(job=job, ending=REFUSED, at_s=105.0, next_at=next_at, counted=True))
        assert await work.next_due_s() == 110.0


async def test_jobs_under_way_are_found_again_after_reopening(path: Path) -> None:
    make(path, 4)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        sent, taken = await claim(work, 2)
        accept(work, taken)
        await bring(work, JobState.FAILED)
        await work.release()
    async with StateFile.open(path) as state:
        work = await state.take(1)
        assert await work.jobs_in(JobState.SUBMITTING) == [sent]
        assert [job.job_id for job in await work.jobs_in(JobState.EXPORTING)] == [taken.job_id]
        assert (await state.remaining()).jobs == {
            JobState.PENDING: 1,
            JobState.SUBMITTING: 1,
            JobState.EXPORTING: 1,
            JobState.SUCCEEDED: 0,
            JobState.FAILED: 1,
            JobState.SKIPPED: 0,
            JobState.AMBIGUOUS: 0,
        }


async def test_a_cancelled_claim_gives_its_jobs_back(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        claiming = asyncio.create_task(claim(work, 2))
        await asyncio.sleep(0)
        claiming.cancel()
        await asyncio.wait([claiming])
        assert claiming.cancelled()
    assert ask(made, "SELECT state, attempt FROM job") == [("pending", 0)] * 3


async def test_a_cancelled_take_gives_the_target_back(made: Path) -> None:
    async with StateFile.open(made) as state:
        taking = asyncio.create_task(state.take(1))
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait([taking])
        assert taking.cancelled()
        await state.flush()
        work = await state.take(1)
        assert work.epoch == 2


async def test_a_cancelled_take_that_is_refused_leaves_the_owner_in_place(made: Path) -> None:
    async with StateFile.open(made) as one, StateFile.open(made) as other:
        work = await one.take(1)
        taking = asyncio.create_task(other.take(1))
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait([taking])
        await other.flush()
        await work.renew()
        assert work.fresh


async def test_a_cancelled_claim_on_a_lost_lease_gives_nothing_back(made: Path) -> None:
    async with StateFile.open(made, now=lambda: 1.0) as one, StateFile.open(made, now=lambda: 99.0) as other:
        work = await one.take(1)
        await other.take(1)
        claiming = asyncio.create_task(claim(work))
        await asyncio.sleep(0)
        claiming.cancel()
        await asyncio.wait([claiming])
        await one.flush()
        assert states(made) == [JobState.PENDING] * 3


async def test_ambiguous_jobs_are_found_again_with_their_attempt(path: Path) -> None:
    make(path, [row(1), row(2, target=THERE), row(3)])
    async with StateFile.open(path) as state:
        here, there = await state.take(1), await state.take(2)
        await bring(here, JobState.FAILED)
        await bring(there, JobState.AMBIGUOUS)
        doubtful = await bring(here, JobState.AMBIGUOUS)
        assert await here.jobs_in(JobState.AMBIGUOUS) == [doubtful]


async def test_a_reopened_job_may_be_claimed_at_once(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        work.apply(Reopened(job=await bring(work, JobState.AMBIGUOUS)))
        assert [(job.job_id, job.attempt) for job in await claim(work)] == [(1, 2)]
