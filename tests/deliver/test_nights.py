"""What nights before the last one left undelivered, between two sandboxes."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

import batchexport
from batchexport.deliveries import DeliveryPolicy, DeliveryState
from batchexport.engine.deliver import image_writer
from batchexport.model import JobState
from batchexport.store import DeliveryBook, read_deliveries, stores
from tests.deliver.conftest import Two
from tests.store.making import bring, make, volume

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")

SETTINGS = '{"image": {}, "name_template": "{volume_id}"}'
JOB = """
[job]
list = "volumes.csv"
state_dir = "nights"
[cloud]
name = "east"
[limits]
requests_per_second = 0
poll_interval = "1s"
"""


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of seconds become moments; how often is looked stays the same."""
    monkeypatch.setattr(image_writer, "_LOOK_S", 0.01)


async def night_of(folder: Path, date: str, *, exported: int) -> Path:
    """A night with three rows, some of them exported, and none delivered."""
    path = await asyncio.to_thread(make, folder / f"nightly-{date}.state", 3, settings=SETTINGS)
    async with stores.open_for_work(path) as store:
        work = await store.take(1)
        for _ in range(exported):
            await bring(work, JobState.SUCCEEDED)
        await DeliveryBook(work).note_policy(DeliveryPolicy(destinations=("cloud:west",)))
        await work.release()
    return path


def states_in(path: Path) -> Counter[DeliveryState]:
    with stores.read(path) as reader:
        return Counter(each.state for each in read_deliveries(reader))


async def test_the_next_night_delivers_what_older_nights_left(two: Two) -> None:
    nights = two.folder / "nights"
    nights.mkdir()
    older = [await night_of(nights, f"2000-01-0{day}", exported=2) for day in (1, 2)]
    last = await night_of(nights, "2000-01-03", exported=3)
    (two.folder / "nightly.toml").write_text(JOB)
    (two.folder / "volumes.csv").write_text(f"volume_id,deliver\n{volume(9)},none\n")
    done = await batchexport.run_job(two.folder / "nightly.toml")
    assert done.exit_code == 0
    assert [states_in(path) for path in (*older, last)] == [
        {DeliveryState.DELIVERED: rows} for rows in (2, 2, 3)
    ]
    for path in older:  # their third rows are not exported any more
        with stores.read(path) as reader:
            assert JobState.PENDING in {job.state for job in reader.jobs()}
