"""A small state file with a row in each state, made the way a run makes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batchexport.changes import Ended, Requeued, Started
from batchexport.model import (
    NO_OPTIONS,
    Accepted,
    Ending,
    ImageOptions,
    JobRow,
    JobState,
    TargetKey,
)
from batchexport.store import RunRecord, StateFile, building

AT = 1_790_000_000.0  # 2026-09-21T14:13:20Z
EAST = TargetKey(cloud="east", region=None, project=None)
HERE = TargetKey()
PLAIN = Ending(reason="active")


def volume_id(number: int) -> str:
    return f"{number:08d}-0000-4000-8000-000000000000"


def build(
    path: Path,
    rows: list[tuple[TargetKey, str, ImageOptions]] | Iterator[Any],
    *,
    settings: str = '{"image": {}, "name_template": "{volume_id}-{run}"}',
) -> None:
    """A state file of these (target, image name, options) rows; lines start at 2, as in a CSV list."""
    count = 0
    with building(path) as build:
        for number, (target, name, options) in enumerate(rows, 1):
            row = JobRow(
                line=number + 1, volume_id=volume_id(number), image_name=name, target=target, options=options
            )
            build.add(row, name)
            count = number
        build.finish(
            RunRecord(
                run_id="20260921-abcdef",
                created_at=AT,
                list_name="volumes.csv",
                list_sha256="0" * 64,
                rows=count,
                settings=settings,
                version="0.1.0",
            )
        )


async def build_mixed(path: Path) -> None:
    """Seven rows of two targets: three ended well or on purpose, two badly, two are to be done."""
    options = ImageOptions(disk_format="qcow2", force=True, protected=False, timeout_s=5400.0)
    rows = [(HERE, f"image {number}", options if number == 1 else NO_OPTIONS) for number in range(1, 6)]
    build(path, [*rows, (EAST, "image 6", NO_OPTIONS), (EAST, "image 7", NO_OPTIONS)])
    async with StateFile.open(path) as state:
        for target in state.targets:
            work = await state.take(target.target_id)
            jobs = await work.claim(5, now_s=AT + 10, server_now_s=AT + 10)
            endings = ENDINGS[: len(jobs)] if target.key == HERE else ENDINGS_EAST
            for job, (outcome, ending) in zip(jobs, endings, strict=True):
                image_id = f"image-id-{job.job_id}"
                if outcome is JobState.PENDING:
                    work.apply(Requeued(job=job, ending=ending, at_s=AT + 30, next_at=AT + 99, counted=True))
                    continue
                if outcome in (JobState.EXPORTING, JobState.SUCCEEDED):
                    answer = Accepted(image_id=image_id, size_gib=100, request_id="req-1")
                    work.apply(Started.by(job, answer, at_s=AT + 20, deadline_at=AT + 3600))
                if outcome is not JobState.EXPORTING:
                    assert ending is not None
                    work.apply(Ended(job=job, after=outcome, ending=ending, at_s=AT + 600))
            await work.release()


async def build_succeeded(path: Path, ending: Ending = PLAIN) -> None:
    """One row, exported."""
    build(path, [(HERE, "image 1", NO_OPTIONS)])
    async with StateFile.open(path) as state:
        work = await state.take(state.targets[0].target_id)
        (job,) = await work.claim(1, now_s=AT, server_now_s=AT)
        answer = Accepted(image_id="image-id-1", size_gib=5, request_id=None)
        work.apply(Started.by(job, answer, at_s=AT, deadline_at=AT + 3600))
        work.apply(Ended(job=job, after=JobState.SUCCEEDED, ending=ending, at_s=AT + 9))
        await work.release()


ENDINGS = [
    (JobState.SUCCEEDED, Ending(reason="active")),
    (JobState.FAILED, Ending(reason="volume is in-use", code="EVS.5400", status=400, request_id="req-2")),
    (JobState.SKIPPED, Ending(reason="attached to a server")),
    (JobState.AMBIGUOUS, Ending(reason="two images could be ours")),
    (JobState.EXPORTING, None),
]
ENDINGS_EAST = [
    (JobState.FAILED, Ending(reason="volume is in-use", code="EVS.5400", status=400)),
    (JobState.PENDING, Ending(reason="503 from the gateway", status=503)),
]
