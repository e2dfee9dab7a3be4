"""Rows that no attempt was made of: found by volume and name, and ended without one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from batchexport.changes import Ended, Rejected, SizesLearned
from batchexport.errors import StateError
from batchexport.model import Ending, JobState
from batchexport.store import StateFile, StateReader, Work
from batchexport.store.sqlite import queries
from batchexport.store.sqlite.connection import open_for_work
from tests.store.making import THERE, ask, bring, claim, make, row, states, volume

GONE = Ending(reason="not sent: the cloud has no such volume", code="volume_not_found")


async def lines(work: Work, *numbers: int) -> list[int]:
    return [found.line for found in await work.unchecked(volume_ids=[volume(number) for number in numbers])]


async def test_rows_are_found_by_their_volumes_in_the_order_of_the_list(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        assert await lines(work, 3, 9, 1) == [2, 4]
        assert await lines(work) == []


async def test_rows_of_another_target_are_not_ours(path: Path) -> None:
    make(path, [row(1), row(2, target=THERE)])
    async with StateFile.open(path) as state:
        work = await state.take(2)
        assert await lines(work, 1, 2) == [3]
        assert (await work.pending()).unchecked == (await work.pending()).jobs == 1


async def test_rows_whose_volume_was_looked_at_or_that_were_tried_are_left_out(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        await bring(work, JobState.PENDING)
        work.apply(SizesLearned({volume(2): 5}))
        assert await lines(work, 1, 2, 3) == [4]
        assert [found.job.volume_id for found in await work.unchecked(after=0, limit=9)] == [volume(3)]
        assert await work.unchecked(after=3, limit=9) == []


async def test_rows_are_found_by_their_image_names(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        found = await work.unchecked(image_names=[f"{volume(2)}-run", "another"])
        assert [unsent.line for unsent in found] == [3]


@pytest.mark.parametrize("end", [JobState.FAILED, JobState.SKIPPED])
async def test_a_row_ends_without_an_attempt(made: Path, end: JobState) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (first, *_) = await work.unchecked(after=0, limit=1)
        work.apply(Rejected(job=first.job, after=end, ending=GONE, at_s=5.0))
        await state.flush()
        assert (await work.pending()).unchecked == 2
        assert len(await claim(work, 9)) == 2
    with StateReader(made) as reader:
        job = next(reader.jobs())
        assert (job.state, job.attempts, job.reason, job.code) == (end, 0, GONE.reason, GONE.code)
        assert job.finished_at == 5.0
        (attempt,) = [each for each in reader.attempts() if each.job_id == 1]
        assert (attempt.attempt, attempt.intent_at, attempt.outcome) == (0, None, end)


async def test_a_row_that_was_sent_cannot_end_without_an_attempt(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        work.apply(Rejected(job=job, after=JobState.FAILED, ending=GONE, at_s=5.0))
        with pytest.raises(StateError, match="cannot become failed: it is submitting"):
            await state.flush()
    assert states(made)[0] is JobState.SUBMITTING


async def test_a_pending_row_does_not_end_as_if_it_had_been_sent(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        job = await bring(work, JobState.PENDING)
        work.apply(Ended(job=job, after=JobState.FAILED, ending=GONE, at_s=5.0))
        with pytest.raises(StateError, match="cannot become failed: it is pending"):
            await state.flush()


async def test_a_refused_row_is_looked_at_and_tried_again_by_retry(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (first, *_) = await work.unchecked(after=0, limit=1)
        work.apply(SizesLearned({first.job.volume_id: 5}))
        work.apply(Rejected(job=first.job, after=JobState.FAILED, ending=GONE, at_s=5.0))
        assert await work.retry() == 1
        assert await lines(work, 1) == [2]
        assert len(await claim(work, 9)) == 3


@pytest.mark.parametrize(
    ("find", "statement", "index"),
    [
        (queries.unchecked_of_volumes, queries.UNCHECKED_OF_VOLUMES, "job_volume"),
        (queries.untried_of_names, queries.UNTRIED_OF_NAMES, "job_image_name"),
    ],
)
def test_rows_are_found_without_a_scan(
    made: Path, find: Callable[..., object], statement: str, index: str
) -> None:
    explain = "EXPLAIN QUERY PLAN " + statement.replace("?", "'[]'")
    assert any("SCAN job" in str(step) for step in ask(made, explain))
    with closing(open_for_work(made)) as db:
        assert find(db, 1, []) == []
    plan = ask(made, explain)
    assert any(f"USING INDEX {index}" in str(step) for step in plan), plan


def test_the_next_rows_are_found_without_a_scan(made: Path) -> None:
    plan = ask(made, "EXPLAIN QUERY PLAN " + queries.NEXT_UNCHECKED.replace("?", "1"))
    assert any("USING INDEX job_ready" in str(step) for step in plan), plan
