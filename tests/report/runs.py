"""Made-up nights as state files: a few hundred exports over some hours, with what goes wrong in real ones."""

from __future__ import annotations

import heapq
import random
import uuid
from pathlib import Path

from batchexport.changes import Ended, RateLearned, Requeued, Started
from batchexport.model import NO_OPTIONS, Accepted, Ending, Job, JobRow, JobState, TargetKey
from batchexport.store import RunRecord, StateFile, Work, building

EVENING = 1_790_028_000.0  # 2026-09-21T22:00:00Z
TARGETS = (TargetKey("prod", "eu-de", None), TargetKey("prod", "eu-nl", "archive"))
SIZES_GIB = (5, 10, 20, 40, 60, 80, 100, 100, 200, 400, 500, 1000)
SLOTS = 20
IN_USE = "Volume {} status must be available, but current status is: in-use. (it is attached to a server)"


def _ending(draw: random.Random, volume_id: str) -> tuple[JobState, Ending, bool]:
    """State, ending, and whether the cloud took the export first."""
    request_id = f"req-{uuid.UUID(int=draw.getrandbits(128))}"
    chance = draw.random()
    if chance < 0.02:
        words = IN_USE.format(volume_id)
        return JobState.FAILED, Ending(reason=words, code="in_use", status=400, request_id=request_id), False
    if chance < 0.03:
        words = "the export failed: the cloud removed the image: not enough space on the image store"
        ending = Ending(reason=f"{words} (attempt 5 of 5)", code="image_gone", request_id=request_id)
        return JobState.FAILED, ending, True
    if chance < 0.035:
        return (
            JobState.FAILED,
            Ending(reason="the cloud has no such volume", code="volume_not_found", status=404),
            False,
        )
    if chance < 0.04:
        words = f"several images could be the result: {uuid.UUID(int=1)}, {uuid.UUID(int=2)}"
        return JobState.AMBIGUOUS, Ending(reason=words, code="ambiguous"), False
    if chance < 0.05:
        return (
            JobState.SKIPPED,
            Ending(reason="skipped because it is attached to a server", code="in_use"),
            False,
        )
    return JobState.SUCCEEDED, Ending(reason="active"), True


async def make_run(
    path: Path,
    rows: int = 400,
    *,
    seed: int = 7,
    begins_at: float = EVENING,
    until_s: float = float("inf"),
    list_name: str = "nightly.csv",
) -> Path:
    """A night of so many rows; those that would begin after `until_s` seconds stay to be done."""
    draw = random.Random(seed)
    with building(path) as build:
        for number in range(1, rows + 1):
            volume_id = str(uuid.UUID(int=draw.getrandbits(128), version=4))
            target = TARGETS[number % 5 == 0]
            row = JobRow(
                line=number + 1, volume_id=volume_id, image_name=None, target=target, options=NO_OPTIONS
            )
            build.add(row, f"{volume_id}-night")
        build.finish(
            RunRecord(
                run_id=f"2026092{seed % 10}-made{seed:02d}",
                created_at=begins_at,
                list_name=list_name,
                list_sha256="0" * 64,
                rows=rows,
                settings="{}",
                version="0.1.0",
            )
        )
    async with StateFile.open(path) as state:
        for record in state.targets:
            work = await state.take(record.target_id)
            await _work(work, draw, begins_at, until_s)
            work.apply(RateLearned(3.5))
            await work.release()
    return path


async def _work(work: Work, draw: random.Random, begins_at: float, until_s: float) -> None:
    """Export with SLOTS at once; each slot takes the next row when it is free."""
    free = [begins_at + 2.0 * slot for slot in range(SLOTS)]
    while (at := heapq.heappop(free)) < begins_at + until_s:
        jobs = await work.claim(1, now_s=at + 7200, server_now_s=at)
        if not jobs:
            return
        if 1800 < at - begins_at < 3600 and draw.random() < 0.6:
            ending = Ending(reason="Too many requests, retry after 5 s", code="APIGW.0308", status=429)
            work.apply(Requeued(job=jobs[0], ending=ending, at_s=at, next_at=at + 5, counted=False))
            heapq.heappush(free, at + 5)
            continue
        heapq.heappush(free, _export(work, jobs[0], draw, at))


def _export(work: Work, job: Job, draw: random.Random, at: float) -> float:
    """One attempt; when its slot is free again."""
    size_gib = draw.choice(SIZES_GIB)
    outcome, ending, taken = _ending(draw, job.volume_id)
    if not taken:
        work.apply(Ended(job=job, after=outcome, ending=ending, at_s=at + 1))
        return at + 2
    took_s = 20 + size_gib * draw.uniform(6, 14)
    accepted = Accepted(
        image_id=str(uuid.UUID(int=draw.getrandbits(128))), size_gib=size_gib, request_id="req-accepted"
    )
    work.apply(Started.by(job, accepted, at_s=at, deadline_at=at + 36000))
    exporting = Job(
        job_id=job.job_id,
        volume_id=job.volume_id,
        image_name=job.image_name,
        options=NO_OPTIONS,
        attempt=job.attempt,
        image_id=accepted.image_id,
    )
    if draw.random() < 0.02 and job.attempt < 3:
        lost = Ending(reason="the export failed: the cloud removed the image", code="image_gone")
        work.apply(
            Requeued(
                job=exporting, ending=lost, at_s=at + took_s / 3, next_at=at + took_s / 3 + 60, counted=True
            )
        )
        return at + took_s / 3
    work.apply(Ended(job=exporting, after=outcome, ending=ending, at_s=at + took_s))
    return at + took_s
