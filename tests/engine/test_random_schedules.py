"""Random faults, random crashes, and what must hold after every one of them.

A crash is taken literally: the state file is copied as it is on disk at that moment, the run is dropped with
all that it had in memory, and the next run gets the copy. Each seed is one schedule; a failing one is
printed by the test's own name. BATCHEXPORT_TEST_SCHEDULES=2000 runs that many.
"""

import asyncio
import contextlib
import itertools
import os
import random
import resource
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from batchexport.changes import JobChange, allowed_changes
from batchexport.config import Limits, Settings
from batchexport.engine import run
from batchexport.engine.resources.kind import MakeKind
from batchexport.engine.target import KINDS
from batchexport.errors import AuthenticationError, TransientError
from batchexport.model import JobState, TargetKey
from batchexport.store.sqlite.writer import Writer
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import EPOCH, FakeCloud
from tests.engine.fast_time import let_pass, run_fast

SCHEDULES = int(os.environ.get("BATCHEXPORT_TEST_SCHEDULES", "12"))
VOLUMES = 10
MAX_EXPORTS = 4
RETRIES = 3
#: What may happen to a request, by how often it should.
FAULTS: list[str | None] = [
    *(["lost"] * 4 + ["lost before"] * 3 + ["late"] * 2 + ["throttled"] * 2 + ["unreachable", "unavailable"]),
]
FAULTS += ["fails"] * 2 + ["killed", "orphan", "lost and fails", "signed out", None, None, None]
#: How often the writer finds the disk full before it is free again.
TIMES_FULL = 3


class Disk:
    """The kernel's own limit on the size of a file, as a disk that is full until a few writes have failed."""

    def __init__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self._pause = Writer._pause

    def fill(self) -> None:
        failures = itertools.count(1)

        def paused(writer: Writer, pause_s: float) -> bool:
            if next(failures) == TIMES_FULL:
                self.free()
            return True

        Writer._pause = paused  # type: ignore[assignment]
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, self._before[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)
        Writer._pause = self._pause


SETTINGS = Settings(
    limits=Limits(poll_interval_s=5.0, max_exports=MAX_EXPORTS, concurrency=3, retries=RETRIES, settle_s=30.0)
)


def until_crash(
    bench: Bench,
    cloud: Any,
    snapshot: Path,
    *,
    crash_after: int,
    full_after: int,
    settings: Settings = SETTINGS,
    stop_s: float | None = None,
    make_kinds: Sequence[MakeKind] = KINDS,
) -> bool:
    """Run until done (False), or until the crash, or what a refused sign-in or an absent cloud ends (True).

    `snapshot` is then what was on the disk. The disk is full for a moment after `full_after` changes. With
    `stop_s` the run is told to stop then.
    """
    disk = Disk()

    async def go() -> bool:
        loop = asyncio.get_running_loop()
        crashed = loop.create_future()
        seen = 0

        def changed(change: JobChange) -> None:
            assert change.after in allowed_changes()[change.before]
            happened()

        def happened(*_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == full_after:
                disk.fill()
            if seen == crash_after and not crashed.done():
                disk.free()
                copy(bench.path, snapshot)
                if hasattr(cloud, "kill_client"):
                    cloud.kill_client()  # before it is cancelled, it would go on for some steps
                crashed.set_result(True)

        @contextlib.asynccontextmanager
        async def connect(key: TargetKey, rate: float | None) -> AsyncIterator[FakeCloud]:
            yield cloud

        if hasattr(cloud, "connect"):
            connect = cloud.connect
        cloud.after_order = happened
        stopping = asyncio.Event()
        if stop_s is not None:
            loop.call_later(stop_s, stopping.set)
        state = bench.open()
        work = asyncio.ensure_future(
            run(
                state,
                connect,
                settings,
                stop=stopping,
                now=lambda: EPOCH + loop.time(),
                on_change=changed,
                make_kinds=make_kinds,
            )
        )
        await asyncio.wait([work, crashed], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            await asyncio.wait([work])
        with contextlib.suppress(Exception):
            await state.close()
        if crashed.done():
            return True
        try:
            work.result()
        except (AuthenticationError, TransientError):
            copy(bench.path, snapshot)
            return True
        return False

    try:
        return run_fast(go())
    finally:
        disk.free()


def copy(path: Path, snapshot: Path) -> None:
    """What is committed at this moment, as a file of its own: what a dead process leaves behind."""
    snapshot.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as live,
        contextlib.closing(sqlite3.connect(snapshot)) as dead,
    ):
        live.backup(dead)
        # This process lives on, and is none that works on the first file.
        dead.execute("UPDATE target SET owner = json_remove(owner, '$.file')")
        dead.commit()


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_whatever_happens_no_volume_gets_two_images_and_no_row_is_lost(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    ids = volume_ids(VOLUMES)
    cloud = FakeCloud(
        faults={volume_id: dice.choices(FAULTS, k=dice.randrange(3)) for volume_id in ids},
        upload_s=dice.choice([1.0, 20.0, 200.0]),
        image_lag_s=0.0,  # an export is over when its image is active; the limit is about copying
    )
    bench = Bench(tmp_path / "0.state")
    bench.load(ids)
    crashes = 0
    while until_crash(
        bench,
        cloud,
        snapshot := tmp_path / f"{crashes + 1}.state",
        crash_after=dice.randrange(1, 25),
        full_after=dice.randrange(1, 40),
    ):
        crashes += 1
        bench = Bench(snapshot)
        let_pass(31.0)  # the dead owner's lease; this test's process is alive, so nobody can know better
        assert crashes < 200, "it never ends"

    jobs = bench.jobs()
    assert len(jobs) == VOLUMES
    for volume_id, job in jobs.items():
        exports = [cloud.records[image_id] for image_id in cloud.exports_of(volume_id)]
        good = [record for record in exports if record["active_at"] is not None]
        assert len(good) <= 1, f"{volume_id}: {len(good)} images after {crashes} crashes"
        if job.state is JobState.SUCCEEDED:
            assert cloud.records[job.image_id or ""] is good[0]
        else:
            assert job.state is JobState.FAILED
            assert not good
            assert job.reason
    assert cloud.most_in_progress <= MAX_EXPORTS
    with bench.reader() as reader:
        assert sum(tally.jobs for tally in reader.overview().tallies) == VOLUMES
