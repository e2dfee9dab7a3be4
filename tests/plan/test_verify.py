"""The images of a finished run, looked at again."""

from pathlib import Path
from typing import Any

import pytest

from batchexport.changes import Ended, Started
from batchexport.dialect import EVS
from batchexport.model import Accepted, Ending, Image, ImageOptions, JobState
from batchexport.plan.image_checks import Verification, verify
from batchexport.store import StateFile, stores
from tests.plan.inventory import FakeInventory
from tests.plan.records import HASH, image
from tests.store.making import alter, make, row, volume
from tests.store.making import image as image_id

OTHER_HASH = "sha512:" + "00" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.state"


async def succeed(path: Path, count: int, *, image_hash: str | None = HASH) -> None:
    """A state file of so many rows that became images, the first of them as qcow2."""
    options = ImageOptions(disk_format="qcow2")
    make(path, [row(1, options=options), *(row(n) for n in range(2, count + 1))])
    async with StateFile.open(path) as state:
        work = await state.take(1)
        for job in await work.claim(count, now_s=1000.0, server_now_s=1000.0):
            accepted = Accepted(image_id=image_id(job.job_id), size_gib=10, request_id=None)
            work.apply(Started.by(job, accepted, at_s=1001.0, deadline_at=9000.0))
            done = Ending(reason="active", image_hash=image_hash)
            work.apply(Ended(job=job, after=JobState.SUCCEEDED, ending=done, at_s=1002.0))
        await work.release()


def images(*numbers: int, **changes: Any) -> list[Image]:
    formats = {1: "qcow2"}
    return [
        image(image_id(n), **({"disk_format": formats.get(n, "raw"), "name": f"{volume(n)}-run"} | changes))
        for n in numbers
    ]


async def look(path: Path, cloud: FakeInventory, **asked: Any) -> Verification:
    found = Verification()
    with stores.exported_images(path, 1) as exported:
        await verify(cloud, exported, ImageOptions(**asked), found)
    return found


async def test_images_as_asked_for_pass_by_pages(path: Path) -> None:
    await succeed(path, 5)
    cloud = FakeInventory(images=images(1, 2, 3, 4, 5), page=5)
    found = await look(path, cloud)
    assert (found.images, found.mismatched, found.hashed, found.passed) == (5, 0, 5, True)
    assert cloud.calls == {"images": 1}
    assert cloud.created_since == 998.0


async def test_few_images_of_many_are_read_by_themselves(path: Path) -> None:
    await succeed(path, 2)
    cloud = FakeInventory(images=[*images(*range(100, 200)), *images(1, 2)], page=10)
    assert (await look(path, cloud)).passed
    assert cloud.calls == {"images": 1, "image": 2}


async def test_what_is_gone_changed_or_other_than_asked_is_told_with_its_line(path: Path) -> None:
    await succeed(path, 4)
    changed = [*images(1, disk_format="raw"), *images(2, status="deactivated"), *images(3, hash=OTHER_HASH)]
    found = await look(path, FakeInventory(images=changed, page=50))
    told = {each.row.line: each.findings[0].code for each in found.kept}
    assert told == {2: "image_format", 3: "image_status", 4: "image_hash", 5: "image_gone"}
    assert (found.mismatched, found.passed) == (4, False)


async def test_an_image_that_is_hidden_from_lists_is_read(path: Path) -> None:
    await succeed(path, 3)
    found = await look(path, FakeInventory(images=images(1), unlisted=images(2, 3), page=50))
    assert (found.images, found.passed) == (3, True)


async def test_the_wishes_of_the_run_and_the_rules_of_the_cloud_fill_up_those_of_a_row(path: Path) -> None:
    await succeed(path, 2)
    cloud = FakeInventory(images=images(1, 2, disk_format="zvhd2"), dialect=EVS, page=50)
    found = await look(path, cloud, disk_format="zvhd2")
    assert [each.row.line for each in found.kept] == [2]
    found = await look(path, cloud)
    assert "asked was vhd" in found.kept[1].findings[0].words


async def test_images_without_a_recorded_hash_are_compared_by_the_rest(path: Path) -> None:
    await succeed(path, 2, image_hash=None)
    found = await look(path, FakeInventory(images=images(1, 2), page=50))
    assert (found.passed, found.hashed) == (True, 0)


async def test_images_beyond_a_few_that_no_list_shows_are_counted(path: Path) -> None:
    await succeed(path, 30)
    found = await look(path, FakeInventory(images=images(1), page=50))
    assert (found.images, found.mismatched, found.unseen) == (21, 20, 9)
    assert not found.passed


async def test_a_run_without_an_image_asks_nothing(path: Path) -> None:
    make(path, 2)
    cloud = FakeInventory()
    assert (await look(path, cloud)).passed
    assert not cloud.calls


async def test_another_name_than_was_asked_for_is_told(path: Path) -> None:
    await succeed(path, 2)
    found = await look(path, FakeInventory(images=[*images(1), *images(2, name="of somebody else")], page=50))
    assert [(each.row.line, each.findings[0].code) for each in found.kept] == [(3, "image_name")]


async def test_one_image_in_two_rows_is_told_of_both(path: Path) -> None:
    await succeed(path, 3)
    alter(path, f"UPDATE job SET image_id = '{image_id(1)}' WHERE job_id = 3")
    found = await look(path, FakeInventory(images=images(1, 2), page=50))
    told = {each.row.line: [finding.code for finding in each.findings] for each in found.kept}
    assert told[2] == ["image_shared"]
    assert told[4][-1] == "image_shared"
    assert (found.images, found.mismatched) == (3, 2)


async def test_a_size_that_the_cloud_does_not_tell_is_not_called_as_asked(path: Path) -> None:
    await succeed(path, 2)
    cloud = FakeInventory(images=[*images(1, virtual_bytes=10 * 2**30), *images(2, size_bytes=None)], page=50)
    found = await look(path, cloud)
    assert (found.mismatched, found.unverified, found.passed) == (0, 1, True)
