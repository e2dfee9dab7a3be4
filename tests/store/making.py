"""State files for these tests, and the shortest way of a job to each state."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from batchexport.changes import Ended, Planned, Requeued, ResourceFound, Started
from batchexport.model import (
    NO_OPTIONS,
    Accepted,
    Ending,
    ImageOptions,
    Job,
    JobRow,
    JobState,
    ResourceRef,
    Server,
    TargetKey,
)
from batchexport.store import RunRecord, StateReader, Work, stores
from batchexport.store.postgres.connection import RunConnection
from batchexport.store.postgres.reference import DatabasePath

HERE = TargetKey()
THERE = TargetKey("other", "eu-de", "backup")

DONE = Ending(reason="the image is active")
REFUSED = Ending(reason="volume is in-use", code="EVS.5400", status=400, request_id="req-refused")


def volume(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def image(number: int) -> str:
    return f"ffffffff-0000-4000-8000-{number:012d}"


SERVER = ("server",)


def servers(*server_ids: str) -> list[ResourceRef]:
    return [ResourceRef("server", server_id) for server_id in server_ids]


def needs(*server_ids: str) -> list[Planned]:
    return [Planned(ref=ref) for ref in servers(*server_ids)]


def found(server: Server) -> ResourceFound:
    return ResourceFound(ref=ResourceRef("server", server.server_id), name=server.name, status=server.status)


def row(number: int, *, target: TargetKey = HERE, options: ImageOptions = NO_OPTIONS) -> JobRow:
    return JobRow(line=number + 1, volume_id=volume(number), image_name=None, target=target, options=options)


def record(rows: int) -> RunRecord:
    return RunRecord(
        run_id="20270101-abcdef",
        created_at=1_700_000_000.5,
        list_name="march.csv",
        list_sha256="00ff",
        rows=rows,
        settings="{}",
        version="0.1.0",
    )


def make(path: Path, rows: Sequence[JobRow] | int = 1, *, settings: str = "{}") -> Path:
    """A state file of these rows, or of so many rows of one target; a run needs `settings` to resume it."""
    listed = [row(number) for number in range(1, rows + 1)] if isinstance(rows, int) else rows
    with stores.create(path) as build:
        for one in listed:
            build.add(one, f"{one.volume_id}-run")
        assert build.duplicates(10) == []
        build.finish(replace(record(len(listed)), settings=settings))
    return path


async def claim(work: Work, limit: int = 1, *, now_s: float = 100.0) -> list[Job]:
    return await work.claim(limit, now_s=now_s, server_now_s=now_s + 0.5)


def accept(work: Work, job: Job, image_id: str | None = None) -> None:
    accepted = Accepted(image_id=image_id or image(job.job_id), size_gib=10, request_id=f"req-{job.job_id}")
    work.apply(Started.by(job, accepted, at_s=101.0, deadline_at=4000.0))


def adopt(work: Work, job: Job) -> None:
    """The image of an ambiguous job was found."""
    accepted = Accepted(image_id=image(job.job_id), size_gib=10, request_id=None)
    work.apply(Started.by(job, accepted, at_s=101.0, deadline_at=4000.0, before=JobState.AMBIGUOUS))


async def bring(work: Work, to: JobState) -> Job:
    """The next job of the list, brought to this state."""
    (job,) = await claim(work)
    match to:
        case JobState.PENDING:
            work.apply(Requeued(job=job, ending=REFUSED, at_s=102.0, next_at=1000.0, counted=True))
        case JobState.EXPORTING:
            accept(work, job)
        case JobState.SUCCEEDED:
            accept(work, job)
            work.apply(Ended(job=job, after=to, ending=DONE, at_s=103.0))
        case JobState.FAILED | JobState.SKIPPED | JobState.AMBIGUOUS:
            work.apply(Ended(job=job, after=to, ending=REFUSED, at_s=103.0))
        case JobState.SUBMITTING:
            pass
    await work.flush()
    return job


def states(path: Path) -> list[JobState]:
    """The state of every job on disk, in order."""
    with StateReader(path) as reader:
        return [job.state for job in reader.jobs()]


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """What the store says, read past the code under test."""
    if isinstance(path, DatabasePath):
        return _in_database(path, sql)
    db = sqlite3.connect(path)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def alter(path: Path, *statements: str) -> None:
    """Change the store past the code under test."""
    if isinstance(path, DatabasePath):
        _in_database(path, *statements)
        return
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def _in_database(path: DatabasePath, *statements: str) -> list[tuple[Any, ...]]:
    run = RunConnection(path, for_work=False)
    try:
        return [run.execute(statement).fetchall() for statement in statements][-1]
    finally:
        run.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that comes by itself, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
