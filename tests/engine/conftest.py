import asyncio
import contextlib

import pytest

from batchexport.config import Limits, Settings
from batchexport.engine import run
from batchexport.model import NO_OPTIONS, ExportRequest, JobRow, TargetKey
from batchexport.store import RunRecord, StateFile, StateReader, building
from tests.engine.fake_cloud import EPOCH
from tests.engine.fast_time import fast_now, run_fast

DEFAULT = TargetKey()


def volume_ids(count):
    return [f"{number:08x}-0000-4000-8000-000000000000" for number in range(1, count + 1)]


class Bench:
    """A real state file, an engine on jumping time, and whatever cloud a test hands in."""

    def __init__(self, path):
        self.path = path

    def load(self, ids, *, options=NO_OPTIONS, targets=(DEFAULT,)):
        with building(self.path) as build:
            for line, volume_id in enumerate(ids, 1):
                target = targets[line % len(targets)]
                row = JobRow(line=line, volume_id=volume_id, image_name=None, target=target, options=options)
                build.add(row, f"{volume_id}-night")
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
        cloud,
        *,
        stop_when=None,
        on_change=None,
        settings=None,
        max_gib_at=None,
        stop=None,
        start_anyway=False,
        **limits,
    ):
        """Run to the end, or until `stop_when(cloud)`, or for `stop` seconds; `cloud` may be a function from
        target to cloud.
        """

        @contextlib.asynccontextmanager
        async def connect(key, rate):
            yield cloud(key) if callable(cloud) else cloud

        async def go():
            loop = asyncio.get_running_loop()
            stopping = asyncio.Event()
            if stop is not None:
                loop.call_later(stop, stopping.set)
            changes = []

            def changed(job, before, after, ending):
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

    def crash_while_submitting(self, cloud, *, sent):
        """Leave every row `submitting`, as a killed process does; those in `sent` did reach the cloud."""

        async def go():
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

    def open(self):
        """The state file, with leases on the fast clock."""
        return StateFile.open(self.path, now=lambda: EPOCH + fast_now(), clock=fast_now)

    def reader(self):
        return StateReader(self.path)

    def jobs(self):
        """What the state file says, by volume id."""
        with StateReader(self.path) as reader:
            return {job.volume_id: job for job in reader.jobs()}

    def states(self):
        return {volume_id: str(job.state) for volume_id, job in self.jobs().items()}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "night.state")
