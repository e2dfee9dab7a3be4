"""Changes of many jobs in one statement, and what happens where one of them is not allowed."""

from __future__ import annotations

import sqlite3
from itertools import combinations
from pathlib import Path

import pytest

from batchexport.changes import Ended, Rejected, Requeued, Snoozed, Started
from batchexport.errors import StateError
from batchexport.model import Accepted, Ending, JobState
from batchexport.store import StateFile, StateReader
from batchexport.store.sqlite import changes
from batchexport.store.sqlite.connection import open_for_work
from tests.store.making import DONE, REFUSED, THERE, accept, ask, claim, image, make, row, states

PENDING, SUBMITTING, EXPORTING = JobState.PENDING, JobState.SUBMITTING, JobState.EXPORTING
SUCCEEDED = JobState.SUCCEEDED


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 9, 500, 700])
async def test_any_number_of_jobs_goes_its_way_together(path: Path, rows: int) -> None:
    async with StateFile.open(make(path, rows)) as state:
        work = await state.take(1)
        jobs = await claim(work, rows)
        for job in jobs:
            accept(work, job)
        for job in jobs:
            work.apply(Ended(job=job, after=SUCCEEDED, ending=DONE, at_s=110.0))
    assert ask(path, "SELECT state, count(*), sum(size_gib) FROM job GROUP BY state") == [
        ("succeeded", rows, 10 * rows)
    ]
    assert ask(path, "SELECT jobs, gib FROM tally WHERE state = 'succeeded'") == [(rows, 10 * rows)]
    # Each job's ending is its own line of the trail.
    joined = "SELECT count(*) FROM job JOIN operation USING (operation_id, job_id)"
    assert ask(path, joined) == [(rows,)]


@pytest.mark.parametrize("end", sorted(set(Ended.starts_from) - {SUCCEEDED}))
async def test_jobs_end_together_in_every_final_state(path: Path, end: JobState) -> None:
    async with StateFile.open(make(path, 3)) as state:
        work = await state.take(1)
        for job in await claim(work, 3):
            work.apply(Ended(job=job, after=end, ending=REFUSED, at_s=110.0))
    assert states(path) == [end] * 3
    assert ask(
        path, "SELECT DISTINCT outcome, http_status, code, reason, request_id, ended_at FROM operation"
    ) == [(end, REFUSED.status, REFUSED.code, REFUSED.reason, REFUSED.request_id, 110.0)]


async def test_what_a_bulk_writes_is_what_each_would_have_written(path: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.state"
    for file, flush in ((make(path, 4), False), (make(alone, 4), True)):
        async with StateFile.open(file) as state:
            work = await state.take(1)
            jobs = await claim(work, 4)
            for number, job in enumerate(jobs):
                size = None if number == 2 else number
                taken = Accepted(image_id=image(number), size_gib=size, request_id=f"req-{number}")
                work.apply(Started.by(job, taken, at_s=100.125 + number, deadline_at=200.25))
                if flush:
                    await state.flush()
            for job in jobs:
                ending = Ending(reason="it's active", code='"c"', status=200, image_hash="sha512:00")
                work.apply(Ended(job=job, after=SUCCEEDED, ending=ending, at_s=300.5))
                if flush:
                    await state.flush()
    for table in ("job", "operation", "tally"):
        assert ask(path, f"SELECT * FROM {table}") == ask(alone, f"SELECT * FROM {table}")


@pytest.mark.parametrize("wrong", [each for count in (1, 2) for each in combinations(range(4), count)])
async def test_one_that_is_not_allowed_is_left_out_and_told(path: Path, wrong: tuple[int, ...]) -> None:
    async with StateFile.open(make(path, 4)) as state:
        work = await state.take(1)
        jobs = await claim(work, 4)
        for number in wrong:
            work.apply(Ended(job=jobs[number], after=JobState.FAILED, ending=REFUSED, at_s=105.0))
        await state.flush()
        for job in jobs:
            accept(work, job)
        with pytest.raises(StateError, match=f"job {wrong[0] + 1} .* cannot become exporting: it is failed"):
            await state.flush()
    expected = [JobState.FAILED if number in wrong else EXPORTING for number in range(4)]
    assert states(path) == expected
    with StateReader(path) as reader:
        assert sum(tally.jobs for tally in reader.overview().tallies) == 4


@pytest.mark.parametrize("change", ["accepted", "ended"])
async def test_a_job_twice_in_one_bulk_is_changed_once_and_told(path: Path, change: str) -> None:
    async with StateFile.open(make(path, 2)) as state:
        work = await state.take(1)
        first, second = await claim(work, 2)
        for job in (first, second, first):
            if change == "accepted":
                accept(work, job)
            else:
                work.apply(Ended(job=job, after=JobState.FAILED, ending=REFUSED, at_s=105.0))
        with pytest.raises(StateError, match="job 1"):
            await state.flush()
    assert states(path) == [EXPORTING if change == "accepted" else JobState.FAILED] * 2
    assert ask(path, "SELECT count(*) FROM operation WHERE ended_at IS NOT NULL") == [
        (0 if change == "accepted" else 2,)
    ]


async def test_bulks_of_two_targets_do_not_mix(path: Path) -> None:
    make(path, [row(1), row(2), row(3, target=THERE), row(4, target=THERE)])
    async with StateFile.open(path) as state:
        here, there = await state.take(1), await state.take(2)
        for work in (here, there):
            for job in await claim(work, 2):
                accept(work, job)
        await state.flush()
        for job in await here.jobs_in(JobState.EXPORTING):
            there.apply(Ended(job=job, after=SUCCEEDED, ending=DONE, at_s=110.0))
        with pytest.raises(StateError, match="of target 1"):
            await state.flush()
    assert states(path) == [EXPORTING] * 4


async def test_after_the_target_was_taken_over_a_bulk_changes_nothing(path: Path) -> None:
    async with StateFile.open(make(path, 3)) as state:
        work = await state.take(1)
        jobs = await claim(work, 3)
        db = sqlite3.connect(path)
        db.execute("UPDATE target SET epoch = epoch + 1")
        db.commit()
        db.close()
        for job in jobs:
            accept(work, job)
        await state.flush()
    assert states(path) == [SUBMITTING] * 3


@pytest.mark.parametrize("rows", [1, 2, 64, 512])
def test_a_statement_for_many_rows_finds_each_by_its_key(path: Path, rows: int) -> None:
    db = open_for_work(make(path, 10))
    for form, fields, values in (
        (changes.START, changes.START_FIELDS, 1),
        (changes.LOG[Ended, SUCCEEDED], changes.LOG_FIELDS, 1),
        (changes.LOG_ANEW, changes.LOG_FIELDS, 1),
        (changes.END, changes.END_FIELDS, 0),
        (changes.END_ANEW, changes.END_FIELDS, 0),
        (changes.START_AGAIN, changes.START_FIELDS, 1),
        (changes.ADOPT, changes.ADOPT_FIELDS, 1),
        (changes.FORGET, changes.FORGET_FIELDS, 1),
        (changes.REJECT, changes.REJECT_FIELDS, 1),
        (changes.REQUEUE, changes.REQUEUE_FIELDS, 0),
        (changes.SNOOZE, changes.SNOOZE_FIELDS, 1),
        (changes.REOPEN, changes.REOPEN_FIELDS, 1),
    ):
        statement = changes.statement_for(form, fields, rows)
        given = (None,) * (len(fields) * rows + values)
        steps = [step for *_, step in db.execute(f"EXPLAIN QUERY PLAN {statement}", given)]
        assert any("SEARCH job USING INTEGER PRIMARY KEY" in step for step in steps)
        assert not any(step.startswith(("SCAN job", "SCAN operation")) for step in steps)
    db.close()


async def test_committed_changes_are_durable_and_all_or_none(path: Path) -> None:
    async with StateFile.open(make(path, 2)) as state:
        work = await state.take(1)
        first, second = await claim(work, 2)
        await work.commit(Ended(job=first, after=JobState.FAILED, ending=REFUSED, at_s=105.0))
        assert states(path) == [JobState.FAILED, SUBMITTING]
        with pytest.raises(StateError, match=r"job 1 .* cannot become pending: it is failed"):
            await work.commit(Snoozed(job=second, next_at=0.0), Snoozed(job=first, next_at=0.0))
        assert states(path) == [JobState.FAILED, SUBMITTING]


@pytest.mark.parametrize("together", [True, False])
async def test_every_kind_of_change_is_the_same_alone_and_in_bulk(path: Path, together: bool) -> None:
    async with StateFile.open(make(path, 6)) as state:
        work = await state.take(1)
        rejected = await work.unchecked(after=0, limit=2)
        for row_ in rejected:
            work.apply(Rejected(job=row_.job, after=JobState.SKIPPED, ending=REFUSED, at_s=90.0))
            if not together:
                await state.flush()
        jobs = await claim(work, 4)
        for job in jobs[:2]:
            work.apply(Requeued(job=job, ending=REFUSED, at_s=105.0, next_at=300.0, counted=job.job_id == 3))
            if not together:
                await state.flush()
        for job in jobs[2:]:
            work.apply(Snoozed(job=job, next_at=0.0, sent=job.job_id == 5))
            if not together:
                await state.flush()
    assert ask(path, "SELECT job_id, state, attempt, next_at, first_intent_at, operation_id FROM job") == [
        (1, "skipped", 0, 0.0, None, 1),
        (2, "skipped", 0, 0.0, None, 2),
        (3, "pending", 1, 300.0, 100.5, 3),
        (4, "pending", 0, 300.0, None, 4),
        (5, "pending", 0, 0.0, 100.5, None),
        (6, "pending", 0, 0.0, None, None),
    ]
    assert ask(path, "SELECT job_id, attempt, intent_at, outcome, code FROM operation") == [
        (1, 0, None, "skipped", REFUSED.code),
        (2, 0, None, "skipped", REFUSED.code),
        (3, 1, 100.5, "pending", REFUSED.code),
        (4, 1, 100.5, "pending", REFUSED.code),
    ]
