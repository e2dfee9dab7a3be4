import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from batchexport.changes import JobChange
from batchexport.config import Limits, Settings
from batchexport.engine import run
from batchexport.model import (
    NO_OPTIONS,
    ExportRequest,
    ImageOptions,
    JobRow,
    JobState,
    TargetKey,
)
from batchexport.store import JobReport, RunRecord, StateFile, StateReader, building
from tests.engine.fake_cloud import EPOCH, FakeCloud
from tests.engine.fast_time import fast_now, run_fast

DEFAULT = TargetKey()


def volume_ids(count: int) -> list[str]:
    return [f"{number:08x}-0000-4000-8000-000000000000" for number in range(1, count + 1)]


class Bench:
    """A real state file, an engine on jumping time, and whatever cloud a test hands in."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(
        self,
        ids: list[str],
        *,
        options: ImageOptions = NO_OPTIONS,
        targets: tuple[TargetKey, ...] = (DEFAULT,),
        name: str = "{}-night",
    ) -> None:
        with building(self.path) as build:
            for line, volume_id in enumerate(ids, 1):
                target = targets[line % len(targets)]
                row = JobRow(line=line, volume_id=volume_id, image_name=None, target=target, options=options)
                build.add(row, name.format(volume_id))
            build.finish(
                RunRecord(
                    run_id="20270115-aaaaaa",
                    created_at=EPOCH,
                    list_name="list.csv",
                    list_sha256="0" * 64,
                    rows=len(ids),
                    settings="{}",
                    version="0",
                )
            )

    def run(
        self,
        cloud: Any,
        *,
        stop_when: Callable[..., Any] | None = None,
        on_change: Callable[..., object] | None = None,
        settings: Settings | None = None,
        max_gib_at: Any = None,
        stop: float | None = None,
        start_anyway: bool = False,
        **limits: Any,
    ) -> list[tuple[str, JobState, JobState]]:
        """Run to the end, or until `stop_when(cloud)`, or for `stop` seconds; `cloud` may be a function from
        target to cloud.
        """

        @contextlib.asynccontextmanager
        async def connect(key: TargetKey, rate: float | None) -> AsyncIterator[Any]:
            yield cloud(key) if callable(cloud) else cloud

        async def go() -> list[tuple[str, JobState, JobState]]:
            loop = asyncio.get_running_loop()
            stopping = asyncio.Event()
            if stop is not None:
                loop.call_later(stop, stopping.set)
            changes: list[tuple[str, JobState, JobState]] = []

            def changed(change: JobChange) -> None:
                job, before, after = change.job, change.before, change.after
                changes.append((job.volume_id, before, after))
                if on_change is not None:
                    on_change(job, before, after)
                if stop_when is not None and stop_when(changes):
                    stopping.set()

            chosen = settings or Settings(limits=Limits(**{"poll_interval_s": 5.0, **limits}))
            async with self.open() as state:
                await run(
                    state,
                    connect,
                    chosen,
                    stop=stopping,
                    now=lambda: EPOCH + loop.time(),
                    on_change=changed,
                    max_gib_at=max_gib_at,
                    start_anyway=start_anyway,
                )
            return changes

        return run_fast(asyncio.wait_for(go(), 1_000_000))

    def crash_while_submitting(self, cloud: FakeCloud, *, sent: list[str]) -> None:
        """Leave every row `submitting`, as a killed process does; those in `sent` did reach the cloud."""

        async def go() -> None:
            loop = asyncio.get_running_loop()
            state = self.open()
            work = await state.take(1)
            now = EPOCH + loop.time()
            for job in await work.claim(1000, now_s=now, server_now_s=now):
                if job.volume_id in sent:
                    request = ExportRequest(
                        volume_id=job.volume_id, image_name=job.image_name, options=NO_OPTIONS
                    )
                    await cloud.upload_volume_to_image(request, fence=lambda: None)
            await work.release()
            await state.close()

        run_fast(go())

    def open(self) -> StateFile:
        """The state file, with leases on the fast clock."""
        return StateFile.open(self.path, now=lambda: EPOCH + fast_now(), clock=fast_now)

    def reader(self) -> StateReader:
        return StateReader(self.path)

    def jobs(self) -> dict[str, JobReport]:
        """What the state file says, by volume id."""
        with StateReader(self.path) as reader:
            return {job.volume_id: job for job in reader.jobs()}

    def states(self) -> dict[str, str]:
        return {volume_id: str(job.state) for volume_id, job in self.jobs().items()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "night.state")
