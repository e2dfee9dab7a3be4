"""Rows on disk joined with pages of a cloud, and what that costs in requests."""

from pathlib import Path
from typing import Any

import pytest

from batchexport.model import Volume
from batchexport.plan import Unseen, take_inventory
from batchexport.store import NeverAttempted, StateFile, StateReader
from tests.plan.inventory import FakeInventory
from tests.store.making import make, row
from tests.store.making import volume as volume_id

ALL_SEEN = Unseen(rows=0, missing=False)


def listed(*numbers: Any) -> Any:
    """Volumes whose size is their number."""
    return [Volume(volume_id=volume_id(n), status="available", size_gib=n) for n in numbers]


async def look(path: Path, cloud: FakeInventory, **options: Any) -> Any:
    """What `take_inventory` told, by the number of the row, and what it left."""
    told = {}
    async with StateFile.open(path) as state:
        work = await state.take(1)

        def seen(unsent: NeverAttempted, found: Volume | None) -> None:
            assert unsent.job.job_id not in told
            told[unsent.job.job_id] = None if found is None else found.size_gib

        unseen = await take_inventory(cloud, work, seen, **options)
        left = (await work.pending()).unchecked
        await work.release()
    return told, unseen, left


@pytest.fixture
def path(tmp_path: Path) -> Any:
    return tmp_path / "a.state"


async def test_every_row_is_joined_with_its_volume_by_pages(path: Path) -> None:
    make(path, 4)
    cloud = FakeInventory(volumes=listed(9, 1, 8, 2, 7, 3, 6, 4), page=3)
    assert await look(path, cloud) == ({1: 1, 2: 2, 3: 3, 4: 4}, ALL_SEEN, 0)
    assert cloud.calls == {"volumes": 2, "volume": 1}
    with StateReader(path) as reader:
        assert [job.size_gib for job in reader.jobs()] == [1, 2, 3, 4]


async def test_one_row_is_read_by_itself(path: Path) -> None:
    make(path, 1)
    cloud = FakeInventory(volumes=listed(3, 2, 1))
    assert await look(path, cloud) == ({1: 1}, ALL_SEEN, 0)
    assert cloud.calls == {"volume": 1}


async def test_few_rows_of_a_large_project_never_cost_twice_what_they_could(path: Path) -> None:
    make(path, 5)
    cloud = FakeInventory(volumes=listed(*range(1000, 100, -1), 1, 2, 3, 4, 5), page=10)
    told, unseen, _ = await look(path, cloud)
    assert (len(told), unseen) == (5, ALL_SEEN)
    assert cloud.calls == {"volumes": 4, "volume": 5}


async def test_what_is_in_no_page_is_read_before_it_is_called_missing(path: Path) -> None:
    make(path, 4)
    cloud = FakeInventory(volumes=listed(1, 2), page=50)
    told, unseen, left = await look(path, cloud)
    assert told == {1: 1, 2: 2, 3: None, 4: None}
    assert (unseen, left) == (ALL_SEEN, 2)
    assert cloud.calls == {"volumes": 1, "volume": 2}


async def test_missing_rows_beyond_a_few_are_presumed_missing(path: Path) -> None:
    make(path, 50)
    told, unseen, _ = await look(path, FakeInventory(volumes=listed(1), page=50))
    assert told == {1: 1} | dict.fromkeys(range(2, 22))
    assert unseen == Unseen(rows=29, missing=True)


async def test_the_first_volume_that_is_there_after_all_ends_the_reading(path: Path) -> None:
    make(path, 50)
    cloud = FakeInventory(unlisted=listed(*range(1, 51)), page=50)
    assert (await look(path, cloud))[:2] == ({1: 1}, Unseen(rows=49, missing=False))


async def test_a_planner_reads_as_many_as_allowed(path: Path) -> None:
    make(path, 50)
    cloud = FakeInventory(unlisted=listed(*range(1, 51)), page=50)
    told, unseen, _ = await look(path, cloud, read_all=True)
    assert (len(told), unseen) == (20, Unseen(rows=30, missing=False))


async def test_rows_that_were_looked_at_or_tried_are_passed_over(path: Path) -> None:
    make(path, [row(n) for n in range(1, 5)])
    first = FakeInventory(volumes=listed(1, 2), page=50)
    await look(path, first)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        (job,) = await work.claim(1, now_s=1.0, server_now_s=1.0)
        assert job.size_gib == 2
        await work.release()
    told, _, _ = await look(path, FakeInventory(volumes=listed(1, 2, 3, 4), page=50))
    assert told == {3: 3, 4: 4}


async def test_a_list_that_was_looked_at_costs_nothing(path: Path) -> None:
    make(path, 2)
    await look(path, FakeInventory(volumes=listed(1, 2)))
    cloud = FakeInventory(volumes=listed(1, 2))
    assert await look(path, cloud) == ({}, ALL_SEEN, 0)
    assert not cloud.calls
