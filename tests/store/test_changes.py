from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from batchexport.changes import (
    Ended,
    RateLearned,
    Rejected,
    Reopened,
    Requeued,
    SizesLearned,
    Snoozed,
    Started,
)
from batchexport.errors import StateError
from batchexport.model import Accepted, Ending, Job, JobState
from batchexport.store import StateFile, StateReader, Work
from tests.store.making import (
    DONE,
    REFUSED,
    THERE,
    accept,
    adopt,
    ask,
    bring,
    claim,
    image,
    make,
    row,
    states,
)

Change = Callable[[Work, Job], None]

PENDING, SUBMITTING, EXPORTING = JobState.PENDING, JobState.SUBMITTING, JobState.EXPORTING
SUCCEEDED, FAILED = JobState.SUCCEEDED, JobState.FAILED
SKIPPED, AMBIGUOUS = JobState.SKIPPED, JobState.AMBIGUOUS


def end(to: JobState) -> Change:
    return lambda work, job: work.apply(Ended(job=job, after=to, ending=DONE, at_s=110.0))


def requeue(*, counted: bool) -> Change:
    return lambda work, job: work.apply(
        Requeued(job=job, ending=REFUSED, at_s=110.0, next_at=500.0, counted=counted)
    )


def snooze(work: Work, job: Job) -> None:
    work.apply(Snoozed(job=job, next_at=500.0))


#: Each change by name: the states it may start from, and where it leads.
CHANGES: dict[str, tuple[Change, set[JobState], JobState]] = {
    "started": (accept, {SUBMITTING}, EXPORTING),
    "adopted": (adopt, {AMBIGUOUS}, EXPORTING),
    "succeeded": (end(SUCCEEDED), {EXPORTING}, SUCCEEDED),
    "failed": (end(FAILED), {SUBMITTING, EXPORTING}, FAILED),
    "skipped": (end(SKIPPED), {SUBMITTING}, SKIPPED),
    "ambiguous": (end(AMBIGUOUS), {SUBMITTING}, AMBIGUOUS),
    "requeued": (requeue(counted=True), {SUBMITTING, EXPORTING}, PENDING),
    "requeued uncounted": (requeue(counted=False), {SUBMITTING, EXPORTING}, PENDING),
    "snoozed": (snooze, {SUBMITTING}, PENDING),
    "reopened": (lambda work, job: work.apply(Reopened(job=job)), {AMBIGUOUS}, PENDING),
}


@pytest.mark.parametrize("before", JobState)
@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_happens_from_its_states_and_from_no_other(
    path: Path, name: str, before: JobState
) -> None:
    change, allowed, after = CHANGES[name]
    async with StateFile.open(make(path)) as state:
        work = await state.take(1)
        job = await bring(work, before)
        change(work, job)
        if before in allowed:
            await state.flush()
        else:
            with pytest.raises(StateError, match=rf"job 1 .* cannot become {after}: it is {before}"):
                await state.flush()
    assert states(path) == [after if before in allowed else before]


async def test_a_change_that_is_not_allowed_keeps_nothing_else_from_being_written(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        first, second = await claim(work, 2)
        work.apply(Ended(job=first, after=SUCCEEDED, ending=DONE, at_s=110.0))
        accept(work, second)
        with pytest.raises(StateError, match="job 1"):
            await state.flush()
    assert states(made) == [SUBMITTING, EXPORTING, PENDING]


async def test_nothing_is_claimed_after_a_change_that_is_not_allowed(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        work.apply(Ended(job=job, after=SUCCEEDED, ending=DONE, at_s=110.0))
        with pytest.raises(StateError, match="cannot become succeeded"):
            await state.flush()
        with pytest.raises(StateError, match="cannot become succeeded"):
            await claim(work)
    assert states(made) == [SUBMITTING, PENDING, PENDING]


async def test_closing_tells_of_a_change_that_was_not_allowed(made: Path) -> None:
    with pytest.raises(StateError, match="cannot become succeeded"):
        async with StateFile.open(made) as state:
            work = await state.take(1)
            (job,) = await claim(work)
            work.apply(Ended(job=job, after=SUCCEEDED, ending=DONE, at_s=110.0))


async def test_an_earlier_attempt_has_nothing_more_to_say(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (first,) = await claim(work)
        work.apply(Requeued(job=first, ending=REFUSED, at_s=110.0, next_at=1.0, counted=True))
        (second,) = await claim(work)
        assert (second.job_id, second.attempt) == (1, 2)
        accept(work, first)
        with pytest.raises(
            StateError, match="attempt 1 cannot become exporting: it is submitting in attempt 2"
        ):
            await state.flush()


async def test_a_lease_changes_no_job_of_another_target(path: Path) -> None:
    make(path, [row(1), row(2, target=THERE)])
    async with StateFile.open(path) as state:
        here, there = await state.take(1), await state.take(2)
        (job,) = await claim(here)
        accept(there, job)
        with pytest.raises(StateError, match="of target 1"):
            await state.flush()


async def test_a_job_that_is_not_there_is_told(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        accept(work, replace(job, job_id=77))
        with pytest.raises(StateError, match=r"job 77 .* there is no such job"):
            await state.flush()


async def test_an_end_must_be_a_final_state(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        with pytest.raises(StateError, match="pending is no end"):
            work.apply(Ended(job=job, after=PENDING, ending=DONE, at_s=110.0))


async def test_an_accepted_job_carries_what_the_cloud_answered(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        job = await bring(work, EXPORTING)
        assert await work.jobs_in(JobState.EXPORTING) == [
            replace(
                job,
                image_id=image(1),
                request_id="req-1",
                size_gib=10,
                accepted_at=101.0,
                deadline_at=4000.0,
            )
        ]


async def test_an_answer_without_a_size_keeps_the_known_one(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        work.apply(SizesLearned({job.volume_id: 7}))
        work.apply(
            Started.by(
                job, Accepted(image_id=image(1), size_gib=None, request_id=None), at_s=1.0, deadline_at=2.0
            )
        )
        (exporting,) = await work.jobs_in(JobState.EXPORTING)
        assert exporting.size_gib == 7


async def test_every_attempt_that_ended_stays_in_the_audit_trail(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        work.apply(Requeued(job=job, ending=REFUSED, at_s=110.0, next_at=120.0, counted=True))
        (job,) = await claim(work, now_s=120.0)
        accept(work, job)
        work.apply(Ended(job=job, after=FAILED, ending=Ending(reason="the image is gone"), at_s=130.0))
    with StateReader(made) as reader:
        first, second = [each for each in reader.attempts() if each.job_id == 1]
    assert (first.attempt, first.outcome, first.reason, first.code, first.status, first.request_id) == (
        1,
        PENDING,
        "volume is in-use",
        "EVS.5400",
        400,
        "req-refused",
    )
    assert (first.intent_at, first.accepted_at, first.ended_at, first.image_id) == (100.5, None, 110.0, None)
    assert (second.attempt, second.outcome, second.reason, second.request_id) == (
        2,
        FAILED,
        "the image is gone",
        "req-1",
    )
    assert (second.intent_at, second.accepted_at, second.ended_at) == (120.5, 101.0, 130.0)
    assert second.image_id == image(1)


async def test_images_of_ended_attempts_are_remembered(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        for number in (1, 2):
            (job,) = await claim(work)
            accept(work, job, image(number))
            work.apply(Requeued(job=job, ending=None, at_s=110.0, next_at=1.0, counted=True))
        (job,) = await claim(work)
        known = await work.images.known(job)
        assert known.of_attempts == {image(1): None, image(2): None}
        assert (await work.images.known(replace(job, job_id=2))).of_attempts == {}


async def test_an_attempt_put_back_unsent_leaves_no_trace(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        work.apply(Snoozed(job=job, next_at=0.0))
        (again,) = await claim(work)
    assert again == job
    assert ask(made, "SELECT count(*) FROM operation WHERE ended_at IS NOT NULL") == [(0,)]


async def test_an_uncounted_attempt_keeps_its_reason_and_frees_its_number(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        work.apply(Requeued(job=job, ending=REFUSED, at_s=110.0, next_at=120.0, counted=False))
        await state.flush()
        with StateReader(made) as reader:
            waiting = next(reader.jobs())
            assert (waiting.attempts, waiting.reason, waiting.next_at) == (0, "volume is in-use", 120.0)
            assert [one.attempt for one in [each for each in reader.attempts() if each.job_id == 1]] == [1]
        (again,) = await claim(work, now_s=120.0)
        assert again.attempt == 1


async def test_the_first_intent_outlives_every_later_one(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (job,) = await claim(work, now_s=100.0)
        work.apply(Requeued(job=job, ending=REFUSED, at_s=110.0, next_at=1.0, counted=True))
        (job,) = await claim(work, now_s=200.0)
        assert (job.first_intent_at, job.intent_at) == (100.5, 200.5)


async def test_retry_brings_failed_jobs_of_its_target_back_with_a_full_allowance(path: Path) -> None:
    make(path, [row(1), row(2, target=THERE), row(3)])
    async with StateFile.open(path) as state:
        here, there = await state.take(1), await state.take(2)
        await bring(here, FAILED)
        await bring(there, FAILED)
        await bring(here, SKIPPED)
        assert await here.retry() == 1
        (again,) = await claim(here)
        assert (again.job_id, again.attempt, again.attempts_before) == (1, 2, 1)
    assert states(path) == [SUBMITTING, FAILED, SKIPPED]


@pytest.mark.parametrize("final", [FAILED, SKIPPED, AMBIGUOUS])
async def test_retry_takes_the_states_it_is_told(path: Path, final: JobState) -> None:
    make(path, 3)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        for one in (FAILED, SKIPPED, AMBIGUOUS):
            await bring(work, one)
        assert await work.retry(frozenset({final})) == 1
        assert ((await state.remaining()).jobs)[final] == 0
        assert ((await state.remaining()).jobs)[PENDING] == 1


@pytest.mark.parametrize("wrong", [SUCCEEDED, SUBMITTING, EXPORTING, PENDING])
async def test_retry_refuses_states_that_are_not_to_be_tried_again(made: Path, wrong: JobState) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        with pytest.raises(StateError, match=f"jobs that are {wrong} cannot be tried again"):
            await work.retry(frozenset({FAILED, wrong}))


async def test_sizes_are_noted_for_the_volumes_of_the_list(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        assert (await work.pending()).unchecked == 3
        first, second = await claim(work, 2)
        work.apply(SizesLearned({first.volume_id: 5, second.volume_id: 6, "not-in-the-list": 7}))
        work.apply(SizesLearned({second.volume_id: 8}))
        assert (await work.pending()).unchecked == 1
    with StateReader(made) as reader:
        assert [job.size_gib for job in reader.jobs()] == [5, 8, None]


async def test_the_learnt_rate_is_there_for_the_next_process(made: Path) -> None:
    async with StateFile.open(made) as state:
        assert [target.requests_per_second for target in state.targets] == [None]
        (await state.take(1)).apply(RateLearned(2.5))
    async with StateFile.open(made) as state:
        assert [target.requests_per_second for target in state.targets] == [2.5]


async def test_a_row_that_was_tried_is_not_refused_as_if_it_never_was(made: Path) -> None:
    """Between two attempts a row may have an image: only what was never sent, or is held, ends unsent."""
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        work.apply(Requeued(job=job, ending=REFUSED, at_s=110.0, next_at=500.0, counted=True))
        work.apply(Rejected(job=job, after=FAILED, ending=REFUSED, at_s=111.0))
        with pytest.raises(StateError, match="job 1"):
            await state.flush()
    assert states(made)[0] == PENDING


async def test_retry_keeps_the_size_of_what_was_sent_and_forgets_that_of_what_never_was(path: Path) -> None:
    """A row never sent is looked at anew, and its size is what says that somebody has."""
    make(path, 2)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        sent = await bring(work, FAILED)
        (unsent,) = [replace(sent, job_id=2, attempt=0)]
        ask_for = {sent.volume_id: 40}
        work.apply(SizesLearned(ask_for))
        await state.flush()
        work.apply(Rejected(job=unsent, after=FAILED, ending=REFUSED, at_s=110.0))
        await state.flush()
        assert await work.retry() == 2
    sizes = ask(path, "SELECT size_gib FROM job ORDER BY job_id")
    assert sizes[0] == (40,)
    assert sizes[1] == (None,)
