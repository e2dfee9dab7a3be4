"""What was acknowledged survives `kill -9`, at whatever moment it comes."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from batchexport.model import JobState
from batchexport.store import StateFile, StateReader
from tests.store.making import ask, image, make

#: Takes job after job to its end as fast as it can, and says what is durable: `job_id state` a line.
WORKER = """
import asyncio, os, sys
from pathlib import Path
from batchexport.model import JobState
from batchexport.store import StateFile
from batchexport.changes import Ended
from tests.store.making import DONE, accept, claim

def say(jobs, state):
    os.write(1, "".join(f"{job.job_id} {state}\\n" for job in jobs).encode())

async def work():
    async with StateFile.open(Path(sys.argv[1])) as state:
        target = await state.take(1)
        while jobs := await claim(target, 7):
            say(jobs, "submitting")
            for job in jobs:
                accept(target, job)
            await state.flush()
            say(jobs, "exporting")
            for job in jobs:
                target.apply(Ended(job=job, after=JobState.SUCCEEDED, ending=DONE, at_s=1.0))
            await state.flush()
            say(jobs, "succeeded")

asyncio.run(work())
"""

ORDER = ["submitting", "exporting", "succeeded"]


async def acknowledged_before_kill(path: Path, *, lines: int) -> dict[int, str]:
    """The last acknowledged state of each job, by a worker killed right after its `lines`-th line."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    said = [await worker.stdout.readline() for _ in range(lines)]
    worker.kill()
    said += (await worker.stdout.read()).splitlines()
    await worker.wait()
    words = [line.split() for line in said if line]
    return {int(job_id): state.decode() for job_id, state in words}


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(path: Path, seed: int) -> None:
    make(path, 3000)
    acknowledged = await acknowledged_before_kill(path, lines=random.Random(seed).randint(1, 300))
    with StateReader(path) as reader:
        found = {job.job_id: job for job in reader.jobs()}
    for job_id, state in acknowledged.items():
        job = found[job_id]
        assert ORDER.index(job.state) >= ORDER.index(state)
        if state != "submitting":
            assert job.image_id == image(job_id)


async def test_a_file_whose_process_was_killed_is_whole_and_goes_on(path: Path) -> None:
    make(path, 3000)
    await acknowledged_before_kill(path, lines=100)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        counts = (await state.remaining()).jobs
        assert len(await work.jobs_in(JobState.SUBMITTING)) == counts[JobState.SUBMITTING]
        assert len(await work.jobs_in(JobState.EXPORTING)) == counts[JobState.EXPORTING]
        assert await work.next_due_s() == 0.0
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert ask(path, "PRAGMA foreign_key_check") == []
    assert [entry.name for entry in path.parent.iterdir()] == ["march.state"]
