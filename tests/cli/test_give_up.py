"""Giving up on rows and servers: shown first, done with --yes, never under a process that works."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from batchexport.config import InUse, Limits, Settings
from batchexport.identity import CloudIdentity
from batchexport.store import JobReport, StateFile, StateReader
from batchexport.store.sqlite.targets import bind
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import FakeCloud
from tests.engine.fake_servers import ServedCloud

IDS = volume_ids(5)
PENDING, PENDING_AGAIN, SUBMITTING, EXPORTING, AMBIGUOUS = IDS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file with a row in each state that is no end."""
    bench = Bench(tmp_path / "night.state")
    bench.load(IDS)
    db = sqlite3.connect(bench.path)
    with db:
        for volume_id, state, attempt in (
            (PENDING_AGAIN, "pending", 2),
            (SUBMITTING, "submitting", 1),
            (EXPORTING, "exporting", 1),
            (AMBIGUOUS, "ambiguous", 1),
        ):
            db.execute(
                "UPDATE job SET state = ?, attempt = ?, first_intent_at = 1, intent_at = 1"
                " WHERE volume_id = ?",
                (state, attempt, volume_id),
            )
        db.execute(
            "UPDATE job SET image_id = 'image-1', accepted_at = 1, deadline_at = 2 WHERE volume_id = ?",
            (EXPORTING,),
        )
        db.execute(
            "INSERT INTO operation (operation_id, job_id, attempt, intent_at)"
            " SELECT job_id, job_id, attempt, intent_at FROM job WHERE state IN ('submitting', 'exporting')"
        )
        db.execute("UPDATE job SET operation_id = job_id WHERE state IN ('submitting', 'exporting')")
    db.close()
    return bench.path


def jobs(path: Path) -> dict[str, JobReport]:
    with StateReader(path) as reader:
        return {job.volume_id: job for job in reader.jobs()}


@pytest.mark.parametrize("volume_id", IDS)
def test_a_row_in_any_state_can_be_given_up_and_tried_again_later(
    path: Path, batchexport: Callable[..., Result], volume_id: str
) -> None:
    shown = batchexport("give-up", str(path), "--volume", volume_id.upper())
    assert (shown.exit_code, "nothing was changed" in shown.stdout) == (0, True)
    assert jobs(path)[volume_id].state != "failed"
    done = batchexport("give-up", str(path), "--volume", volume_id, "--yes")
    assert (done.exit_code, "1 row given up" in done.stdout) == (0, True), done.output
    job = jobs(path)[volume_id]
    assert (str(job.state), job.code) == ("failed", "given_up")
    assert "given up on purpose" in (job.reason or "")
    assert sum(str(each.state) == "failed" for each in jobs(path).values()) == 1


def test_what_is_left_in_the_cloud_is_named(path: Path, batchexport: Callable[..., Result]) -> None:
    done = batchexport("give-up", str(path), "--volume", EXPORTING, "--volume", PENDING, "--yes")
    assert "image-1" in done.stdout and "nothing was sent for it" in done.stdout
    assert "image-1" in (jobs(path)[EXPORTING].reason or "")


def test_what_comes_next_can_be_pasted(path: Path, batchexport: Callable[..., Result]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        bind(db, 1, CloudIdentity(cloud="my cloud", project_id="p"), at=1.0, rebind=False)
    done = batchexport("give-up", str(path), "--volume", EXPORTING, "--yes")
    for command in ("resume", "cleanup"):
        assert f"next: batchexport {command} {path} --os-cloud 'my cloud'  (" in done.stdout


def test_stalled_means_past_the_deadline(path: Path, batchexport: Callable[..., Result]) -> None:
    done = batchexport("give-up", str(path), "--stalled", "--yes")
    assert "2 rows given up" in done.stdout
    failed = {volume_id for volume_id, job in jobs(path).items() if str(job.state) == "failed"}
    assert failed == {EXPORTING, SUBMITTING}
    again = batchexport("give-up", str(path), "--stalled", "--yes")
    assert (again.exit_code, "nothing to give up" in again.stdout) == (0, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "nothing to give up was named"),
        (["--volume", "00000009-0000-4000-8000-000000000000"], "this volume has no unfinished row"),
        (["--server", "a"], "this run has not stopped it"),
    ],
)
def test_what_cannot_be_given_up_is_told(
    path: Path, batchexport: Callable[..., Result], options: list[str], words: str
) -> None:
    result = batchexport("give-up", str(path), *options, "--yes")
    assert (result.exit_code, words in result.output) == (2, True), result.output


def test_nothing_is_given_up_under_a_process_that_works(
    path: Path, batchexport: Callable[..., Result]
) -> None:
    async def meanwhile() -> Result:
        async with StateFile.open(path) as state:
            work = await state.take(1)
            result = await asyncio.to_thread(batchexport, "give-up", str(path), "--stalled", "--yes")
            await work.release()
            return result

    result = asyncio.run(meanwhile())
    assert result.exit_code == 4, result.output
    assert str(jobs(path)[EXPORTING].state) == "exporting"


def test_a_server_that_is_given_up_is_no_longer_waited_for(
    tmp_path: Path, batchexport: Callable[..., Result]
) -> None:
    bench = Bench(tmp_path / "night.state")
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]})
    stop = Settings(in_use=InUse.STOP, limits=Limits(poll_interval_s=10.0))

    bench.run(cloud, settings=stop)
    db = sqlite3.connect(bench.path)
    with db:
        db.execute("UPDATE resource SET state = 'held'")
    db.close()
    done = batchexport("give-up", str(bench.path), "--server", "a", "--yes")
    assert "1 server given up" in done.stdout, done.output
    assert "no server is stopped" in batchexport("servers", str(bench.path)).stdout


def test_a_row_given_up_is_looked_at_before_it_is_sent_again(
    tmp_path: Path, batchexport: Callable[..., Result]
) -> None:
    bench = Bench(tmp_path / "night.state")
    bench.load(IDS[:1])
    cloud = FakeCloud(upload_s=100.0)
    bench.run(cloud, settings=Settings(wait=False))
    assert batchexport("give-up", str(bench.path), "--volume", IDS[0], "--yes").exit_code == 0

    async def retry() -> None:
        async with StateFile.open(bench.path) as state:
            work = await state.take(1)
            await work.retry()
            await work.release()

    asyncio.run(retry())
    bench.run(cloud)
    assert (bench.states(), len(cloud.posts)) == ({IDS[0]: "succeeded"}, 1)
