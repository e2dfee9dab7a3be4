"""State files of every released version stay readable, and go on where they were."""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from batchexport.changes import Ended, Requeued, ResourcesReleased
from batchexport.errors import StateCorruptError, StateInUseError
from batchexport.model import JobState
from batchexport.store import StateFile, StateReader
from batchexport.store.owner import this_process
from tests.store.making import DONE, SERVER, ask, servers

FILES = sorted((Path(__file__).parent / "files").glob("version-*.state"))


def test_there_is_a_file_of_the_current_version() -> None:
    from batchexport.store.sqlite.schema import VERSION

    assert f"version-{VERSION}.state" in [file.name for file in FILES]


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy, for a look must not touch what is kept."""
    return Path(shutil.copy(request.param, tmp_path / "night.state"))


def test_it_is_read(released: Path) -> None:
    with StateReader(released) as reader:
        jobs = list(reader.jobs())
        assert len(jobs) == reader.run.rows == 5
        assert {job.state for job in jobs} == {JobState.SUCCEEDED}
        assert all(
            job.image_id
            and job.size_gib
            and [each for each in reader.attempts() if each.job_id == job.job_id]
            for job in jobs
        )


async def test_it_is_opened_for_work(released: Path) -> None:
    async with StateFile.open(released) as state:
        (target,) = state.targets
        work = await state.take(target.target_id)
        assert await work.claim(10, now_s=0.0, server_now_s=0.0) == []
        await work.release()


@pytest.fixture
def at_work(tmp_path: Path) -> Path:
    """A file of format 1 whose process was killed: jobs in every state, a server down and one on the way."""
    return Path(shutil.copy(Path(__file__).parent / "files" / "at-work-1.state", tmp_path / "night.state"))


def told(path: Path) -> dict[str, Any]:
    """What the file tells people, for comparing."""
    with StateReader(path) as reader:
        return {
            "jobs": [
                (job.job_id, job.state, job.reason, job.image_id, job.request_id) for job in reader.jobs()
            ],
            "attempts": {
                number: [each for each in reader.attempts() if each.job_id == number]
                for number in range(1, 13)
            },
            "servers": reader.overview().resources,
            "downtimes": reader.downtimes(),
            "removals": reader.removals(),
            "abandoned": reader.abandoned(),
            "span": reader.span(),
            "latest": list(reader.attempts(latest=9)),
            "put back": list(reader.attempts(JobState.PENDING)),
        }


async def test_a_run_of_format_1_is_reported_as_it_stands_and_the_same_once_it_is_migrated(
    at_work: Path,
) -> None:
    before = told(at_work)
    assert [(number, str(state)) for number, state, *_ in before["jobs"]] == [
        (1, "succeeded"),
        (2, "failed"),
        (3, "skipped"),
        (4, "ambiguous"),
        (5, "pending"),
        (6, "exporting"),
        (7, "exporting"),
        (8, "failed"),
        (9, "submitting"),
        (10, "pending"),
        (11, "pending"),
        (12, "pending"),
    ]
    assert {number: len(each) for number, each in before["attempts"].items() if each} == dict.fromkeys(
        (1, 2, 3, 4, 5, 8), 1
    )
    assert [(each.resource_id, each.state, each.note) for each in before["servers"]] == [
        ("db", "acquiring", "does not stop"),
        ("web", "held", None),
    ]
    assert [(each.image_id[-1], each.outcome) for each in before["removals"]] == [
        ("8", "removed"),
        ("1", None),
    ]
    async with StateFile.open(at_work):
        pass
    assert told(at_work) == before
    assert ask(at_work, "PRAGMA user_version") == [(3,)]
    assert ask(at_work, "PRAGMA integrity_check") == [("ok",)]
    assert ask(at_work, "PRAGMA foreign_key_check") == []


async def test_a_run_of_format_1_goes_on_where_it_was(at_work: Path) -> None:
    async with StateFile.open(at_work) as state:
        work = await state.take(1)
        (sent,) = await work.jobs_in(JobState.SUBMITTING)
        exporting = await work.jobs_in(JobState.EXPORTING)
        assert (sent.job_id, [job.job_id for job in exporting]) == (9, [6, 7])
        for job in (sent, exporting[0]):
            work.apply(Ended(job=job, after=JobState.FAILED, ending=DONE, at_s=1_700_000_600.0))
        work.apply(Requeued(job=exporting[1], ending=DONE, at_s=1_700_000_601.0, next_at=0.0, counted=True))
        (held,) = await work.resources.held_jobs(SERVER, after=0, limit=9)
        assert (held.job.job_id, held.needs) == (10, ("db", "web"))
        await work.commit(ResourcesReleased(resources=servers("web"), at_s=1_700_000_602.0))
        assert len(await work.claim(9, now_s=1_700_000_700.0, server_now_s=1_700_000_700.0)) == 3
        await state.flush()
        await work.release()
    with StateReader(at_work) as reader:
        assert [
            [each.image_id for each in [each for each in reader.attempts() if each.job_id == number]]
            for number in (9, 6, 7)
        ] == [
            [None],
            [f"ffffffff-0000-4000-8000-{6:012d}"],
            [f"ffffffff-0000-4000-8000-{7:012d}"],
        ]
        assert [server.resource_id for server in reader.overview().resources] == ["db"]


async def test_a_file_that_a_program_of_format_1_works_on_is_left_as_it_is(at_work: Path) -> None:
    """The answers to what it has sent would be lost with the tables that it knows."""
    now = time.time()
    owner = msgspec.json.encode(replace(this_process(now=now), pid=os.getppid(), started=None)).decode()
    with closing(sqlite3.connect(at_work)) as db, db:
        db.execute("UPDATE target SET owner = ?, lease_until = ?", (owner, now + 30))
    before = told(at_work)
    with pytest.raises(StateInUseError, match="in use by process"):
        StateFile.open(at_work)
    assert ask(at_work, "PRAGMA user_version") == [(1,)]
    assert told(at_work) == before


def test_a_damaged_file_of_format_1_is_refused_as_it_is(at_work: Path) -> None:
    with closing(sqlite3.connect(at_work)) as db, db:
        db.execute("UPDATE tally SET jobs = jobs + 1 WHERE state = 'pending'")
    before = at_work.read_bytes()
    with pytest.raises(StateCorruptError, match="not a whole state file"):
        StateFile.open(at_work)
    assert at_work.read_bytes() == before


def test_a_program_of_format_1_finds_the_tables_it_looks_for_before_it_reads_the_version(made: Path) -> None:
    """Else it would call the file damaged, and not of a newer format."""
    tables = {name for (name,) in ask(made, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables >= {"run", "target", "job", "attempt", "tally", "server", "job_server"}
