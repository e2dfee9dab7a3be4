from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.changes import Ended, Requeued
from batchexport.errors import StateCorruptError, StateError
from batchexport.model import Ending, ImageOptions, JobState
from batchexport.store import Abandoned, ReasonCount, StateFile, StateReader, Tally
from batchexport.store.sqlite.values import options_from_text, options_to_text
from tests.store.making import (
    DONE,
    HERE,
    REFUSED,
    THERE,
    accept,
    adopt,
    alter,
    bring,
    claim,
    image,
    make,
    row,
    volume,
)


async def test_tallies_tell_jobs_and_sizes_by_target_and_state(path: Path) -> None:
    make(path, [row(1), row(2), row(3, target=THERE), row(4)])
    async with StateFile.open(path) as state:
        here, there = await state.take(1), await state.take(2)
        await bring(here, JobState.EXPORTING)
        await bring(there, JobState.SUCCEEDED)
    with StateReader(path) as reader:
        assert reader.overview().tallies == [
            Tally(target=HERE, state=JobState.PENDING, jobs=2, gib=0, sized_jobs=0),
            Tally(target=HERE, state=JobState.EXPORTING, jobs=1, gib=10, sized_jobs=1),
            Tally(target=THERE, state=JobState.SUCCEEDED, jobs=1, gib=10, sized_jobs=1),
        ]


async def test_a_reader_sees_each_change_once_it_is_durable(made: Path) -> None:
    with StateReader(made) as reader:
        async with StateFile.open(made) as state:
            work = await state.take(1)
            await claim(work)
            assert [tally.state for tally in reader.overview().tallies] == [
                JobState.PENDING,
                JobState.SUBMITTING,
            ]
        assert [job.state for job in reader.jobs()] == ["submitting", "pending", "pending"]


async def test_a_report_holds_all_that_is_known_of_a_finished_job(made: Path) -> None:
    async with StateFile.open(made) as state:
        await bring(await state.take(1), JobState.SUCCEEDED)
    with StateReader(made) as reader:
        job = next(reader.jobs())
    assert (job.job_id, job.line, job.target, job.volume_id) == (1, 2, HERE, volume(1))
    assert (job.state, job.image_id, job.size_gib, job.attempts) == ("succeeded", image(1), 10, 1)
    assert (job.reason, job.code, job.status, job.request_id) == ("the image is active", None, None, "req-1")
    assert (job.intent_at, job.accepted_at, job.finished_at) == (100.5, 101.0, 103.0)
    assert (job.next_at, job.deadline_at) == (None, 4000.0)


async def test_a_report_of_a_job_under_way_has_no_reason_of_an_earlier_attempt(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        work.apply(Requeued(job=job, ending=REFUSED, at_s=110.0, next_at=1.0, counted=True))
        await claim(work)
    with StateReader(made) as reader:
        first = next(reader.jobs())
    assert (first.attempts, first.reason, first.request_id) == (2, None, None)


async def test_jobs_can_be_asked_for_by_state(path: Path) -> None:
    make(path, 4)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        await bring(work, JobState.FAILED)
        await bring(work, JobState.SUCCEEDED)
        await bring(work, JobState.SKIPPED)
    with StateReader(path) as reader:
        chosen = reader.jobs({JobState.FAILED, JobState.SKIPPED})
        assert [job.job_id for job in chosen] == [1, 3]
        assert list(reader.jobs([])) == []


async def test_a_long_list_is_read_completely_while_it_is_worked_on(path: Path) -> None:
    make(path, 5000)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        with StateReader(path) as reader:
            jobs = reader.jobs()
            seen = [next(jobs).job_id]
            await claim(work, 5000)
            seen += [job.job_id for job in jobs]
    assert seen == list(range(1, 5001))


async def test_the_most_frequent_reasons_come_first(path: Path) -> None:
    make(path, 5)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        gone = Ending(reason="the image is gone")
        for ending in (gone, REFUSED, gone):
            (job,) = await claim(work)
            work.apply(Ended(job=job, after=JobState.FAILED, ending=ending, at_s=1.0))
        await bring(work, JobState.SKIPPED)
    with StateReader(path) as reader:
        assert list(reader.reasons()) == [
            ReasonCount(reason="the image is gone", code=None, jobs=2),
            ReasonCount(reason="volume is in-use", code="EVS.5400", jobs=1),
        ]


async def test_an_adopted_job_loses_the_words_of_its_doubt(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        job = await bring(work, JobState.AMBIGUOUS)
        adopt(work, job)
        await state.flush()
        with StateReader(made) as reader:
            adopted = next(reader.jobs())
            assert (adopted.state, adopted.reason, adopted.finished_at) == ("exporting", None, None)
        work.apply(Ended(job=job, after=JobState.SUCCEEDED, ending=DONE, at_s=120.0))
    with StateReader(made) as reader:
        assert [one.outcome for one in [each for each in reader.attempts() if each.job_id == 1]] == [
            "ambiguous",
            "succeeded",
        ]


async def test_images_of_attempts_that_failed_are_told_as_abandoned(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        for image_id in (image(91), image(92)):
            (job,) = await claim(work)
            accept(work, job, image_id)
            work.apply(Requeued(job=job, ending=REFUSED, at_s=110.0, next_at=1.0, counted=True))
        (job,) = await claim(work)
        accept(work, job, image(93))
        work.apply(Ended(job=job, after=JobState.SUCCEEDED, ending=DONE, at_s=120.0))
        await bring(work, JobState.FAILED)
    with StateReader(made) as reader:
        assert reader.abandoned() == [
            Abandoned(
                target=HERE,
                job_id=1,
                volume_id=volume(1),
                image_name=f"{volume(1)}-run",
                image_id=image(number),
                may_be_left=False,
            )
            for number in (91, 92)
        ]


async def test_an_image_that_was_adopted_after_all_is_not_abandoned(made: Path) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        for _ in range(2):
            (job,) = await claim(work)
            accept(work, job, image(91))
            if job.attempt == 1:
                work.apply(Requeued(job=job, ending=REFUSED, at_s=110.0, next_at=1.0, counted=True))
    with StateReader(made) as reader:
        assert reader.abandoned() == []


def test_options_are_kept_as_what_was_said() -> None:
    said = ImageOptions(disk_format="qcow2", force=False, timeout_s=1.5)
    assert options_to_text(said) == '{"disk_format":"qcow2","force":false,"timeout_s":1.5}'
    assert options_from_text(options_to_text(said)) == said
    assert options_to_text(ImageOptions()) is None


def test_options_that_cannot_be_read_are_told(made: Path) -> None:
    alter(made, "UPDATE job SET options = '{' WHERE job_id = 2")
    with StateReader(made) as reader, pytest.raises(StateCorruptError, match="image options"):
        list(reader.jobs())


def test_damage_met_while_reading_is_told_with_the_file(path: Path) -> None:
    make(path, 12_000)  # a file of so many is not looked at whole when it is opened
    with StateReader(path) as reader:
        with path.open("r+b") as file:
            file.seek(20 * 4096)
            file.write(b"\xff" * 100 * 4096)
        with pytest.raises(StateError, match=r"march\.state"):
            list(reader.jobs())
