"""One command exports, copies, saves and makes volumes, and is killed with SIGKILL five times on its way."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batchexport.deliveries import DeliveryState
from batchexport.errors import StateError
from batchexport.sandbox import SandboxSettings, SandboxVolume
from batchexport.store import count_deliveries, read_deliveries, stores
from tests.deliver.sides import Sides, both_sides, east_of, is_whole

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")

ROWS = 20
KILLS = 5
IDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(1, ROWS + 1)]


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[Sides]:
    volumes = tuple(
        SandboxVolume(volume_id=each, name=f"vol-{each[:8]}", size_gib=10, status="available") for each in IDS
    )
    # Exports take seconds, so that kills fall into them as well.
    east = east_of(volumes=volumes, time_scale=0.1)
    async with both_sides(tmp_path, east=east, west=SandboxSettings(time_scale=0.1)) as sides:
        sides.list_path.write_text("volume_id\n" + "\n".join(IDS) + "\n")
        yield sides


async def started(sides: Sides, *arguments: str) -> Process:
    """The command in a process of its own, with its streams held back to last some seconds."""
    command = [*arguments, "--os-cloud", "east", "--requests-per-second", "0", "--poll-interval", "0.2"]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "batchexport",
        *command,
        *("--bandwidth", "3M"),
        env={**os.environ, "OS_CLIENT_CONFIG_FILE": str(sides.folder / "clouds.yaml")},
        stdout=DEVNULL,
        stderr=PIPE,
    )


def progress(sides: Sides) -> tuple[int, int]:
    """How many rows are exported, and how many deliveries are under way or done."""
    try:
        with stores.read(sides.state) as reader:
            counts, deliveries = count_deliveries(reader), read_deliveries(reader)
    except StateError:
        return (0, 0)  # it is not there yet
    return (
        counts.total if counts else 0,
        sum(each.state is not DeliveryState.PENDING for each in deliveries),
    )


async def got_on(process: Process, sides: Sides, steps: int) -> None:
    """Returns once so many exports and deliveries more are on record, or the process has ended."""
    before = sum(progress(sides))
    for _ in range(2000):
        if process.returncode is not None or sum(progress(sides)) >= before + steps:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it does not get on")


async def killed(process: Process, sides: Sides, draw: random.Random) -> None:
    """Let it get on by something, and a moment longer; then kill it."""
    await got_on(process, sides, draw.randrange(1, 8))
    await asyncio.sleep(draw.random() * 0.5)
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
    await process.communicate()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_after_five_kills_everything_is_there_once_and_nothing_else(sides: Sides) -> None:
    draw = random.Random(1)
    saved = sides.folder / "saved"
    destinations = ["cloud:west", "volume:west", f"file://{saved}/"]
    wanted = [part for each in destinations for part in ("--deliver", each)]
    run = ["run", str(sides.list_path), "--disk-format", "qcow2", *wanted, "--drop-source-image"]
    await killed(await started(sides, *run), sides, draw)
    for number in range(1, KILLS):
        # The same command, or a bare resume: both go on.
        again = run if number % 2 else ["resume", str(sides.state)]
        await killed(await started(sides, *again), sides, draw)
    last = await started(sides, "resume", str(sides.state))
    _, told = await last.communicate()
    assert last.returncode == 0, told.decode()

    with stores.read(sides.state) as reader:
        names = Counter(job.image_name for job in reader.jobs())
        found = Counter((each.destination, each.state) for each in read_deliveries(reader))
    assert found == {(each, DeliveryState.DELIVERED): ROWS for each in destinations}
    assert await sides.copies() == names
    assert await sides.volumes() == {"available": ROWS}
    assert await sides.sources() == []
    files = sorted(saved.iterdir())
    assert len(files) == 2 * ROWS
    assert all(is_whole(each) for each in files if each.suffix == ".qcow2")
