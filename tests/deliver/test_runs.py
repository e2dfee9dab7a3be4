"""Deliveries inside of runs: with the library, between two sandboxes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from batchexport import export, resume
from batchexport.cloud.image_data import ImageData
from batchexport.deliveries import DeliveryPolicy, DeliveryState
from batchexport.engine.deliver import destination_loop, image_writer
from batchexport.errors import ConfigError, JobListError, RefusedError
from batchexport.retry import Backoff
from batchexport.sandbox import SandboxSettings
from batchexport.store import awaited_images, count_deliveries, read_deliveries, read_policy, stores
from tests.deliver.sides import IDS, Sides, both_sides, east_of, is_whole

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of seconds become moments; how often is looked stays the same."""
    monkeypatch.setattr(destination_loop, "BETWEEN_TRIES", Backoff(first_s=0.01, cap_s=0.01))
    monkeypatch.setattr(destination_loop, "UNREACHABLE", Backoff(first_s=0.5, cap_s=0.5))
    monkeypatch.setattr(destination_loop, "AWAY_FOR_S", 0.015)
    monkeypatch.setattr(image_writer, "_LOOK_S", 0.01)


@pytest.fixture
def west_settings() -> SandboxSettings:
    return SandboxSettings(time_scale=0)


@pytest.fixture
async def sides(tmp_path: Path, west_settings: SandboxSettings) -> AsyncIterator[Sides]:
    async with both_sides(tmp_path, east=east_of(), west=west_settings) as sides:
        yield sides


def options(*deliver: str, **more: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"cloud": "east", "requests_per_second": 0, "poll_interval_s": 0.05}
    said |= {"disk_format": "qcow2", "sign_in_timeout_s": 0.0, **more}
    return said | ({"deliver": deliver} if deliver else {})


def states(sides: Sides) -> Counter[tuple[str, DeliveryState]]:
    with stores.read(sides.state) as reader:
        return Counter((each.destination, each.state) for each in read_deliveries(reader))


def listed(sides: Sides, *destinations: str) -> None:
    """The list with a column `deliver`."""
    rows = [f"{volume_id},{each}" for volume_id, each in zip(IDS, destinations, strict=True)]
    sides.list_path.write_text("\n".join(["volume_id,deliver", *rows]) + "\n")


async def test_every_row_goes_on_to_every_destination_once(sides: Sides) -> None:
    saved = f"file://{sides.folder}/saved/"
    outcome = await export(sides.list_path, **options("cloud:west", "volume:west", saved))
    assert (outcome.exit_code, outcome.undelivered, len(outcome.images)) == (0, 0, 4)
    assert states(sides) == {
        (each, DeliveryState.DELIVERED): 4 for each in ("cloud:west", "volume:west", saved)
    }
    assert await sides.copies() == Counter(row.image_name for row in outcome.rows)
    assert await sides.volumes() == {"available": 4}
    files = [each for each in (sides.folder / "saved").iterdir() if each.suffix == ".qcow2"]
    assert len(files) == 4
    assert all(map(is_whole, files))
    again = await export(sides.list_path, **options("cloud:west", "volume:west", saved))
    assert again.images == outcome.images
    assert (await sides.copies()).total() == 4


async def test_variables_of_the_source_lead_no_delivery_back_to_it(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    clouds = (sides.folder / "clouds.yaml").read_text()
    url = clouds.split("  east:")[1].split("auth_url: ")[1].split("\n")[0]
    monkeypatch.setenv("OS_AUTH_URL", url)  # as an openrc that was read leaves it
    outcome = await export(sides.list_path, **options("cloud:west"))
    assert outcome.exit_code == 0
    assert await sides.copies() == Counter(row.image_name for row in outcome.rows)
    assert len(await sides.sources()) == 4


async def test_a_destination_that_is_away_holds_its_deliveries_and_no_export(sides: Sides) -> None:
    outcome = await export(sides.list_path, **options("cloud:west", "cloud:away"))
    assert len(outcome.images) == 4
    assert (outcome.exit_code, outcome.undelivered) == (3, 4)
    assert states(sides) == {
        ("cloud:west", DeliveryState.DELIVERED): 4,
        ("cloud:away", DeliveryState.PENDING): 4,
    }
    with stores.read(sides.state) as reader:
        assert awaited_images(reader) == {each: ["cloud:away"] for each in outcome.images.values()}
    # It was noted what the run delivers: a bare resume goes on, and so it does once the cloud is back.
    clouds = (sides.folder / "clouds.yaml").read_text()
    url = clouds.split("  west:")[1].split("auth_url: ")[1].split("\n")[0]
    (sides.folder / "clouds.yaml").write_text(clouds.replace("http://127.0.0.1:1/identity/v3", url))
    resumed = await resume(sides.state, **options())
    assert (resumed.exit_code, resumed.images) == (0, outcome.images)
    assert states(sides) == {(f"cloud:{each}", DeliveryState.DELIVERED): 4 for each in ("west", "away")}
    assert (await sides.copies()).total() == 8


async def test_a_row_says_itself_where_it_goes(sides: Sides) -> None:
    saved = f"file://{sides.folder}/saved/"
    listed(sides, "cloud:west", "none", "", f"{saved} cloud:west")
    outcome = await export(sides.list_path, **options(saved))
    assert outcome.exit_code == 0
    with stores.read(sides.state) as reader:
        went = [(each.volume_id, each.position, each.destination) for each in read_deliveries(reader)]
    assert went == [
        (IDS[0], 1, "cloud:west"),
        (IDS[2], 1, saved),
        (IDS[3], 1, saved),
        (IDS[3], 2, "cloud:west"),
    ]


async def test_a_list_alone_says_where_its_rows_go(sides: Sides) -> None:
    listed(sides, "cloud:west", "", "", "")
    assert (await export(sides.list_path, **options())).exit_code == 0
    assert states(sides) == {("cloud:west", DeliveryState.DELIVERED): 1}


async def test_a_row_that_succeeded_may_be_told_another_destination(sides: Sides) -> None:
    first = await export(sides.list_path, **options())
    listed(sides, *["cloud:west"] * 4)
    second = await export(sides.list_path, **options())
    assert (second.exit_code, second.images) == (0, first.images)
    assert states(sides) == {("cloud:west", DeliveryState.DELIVERED): 4}


async def test_retry_begins_with_the_step_that_failed(sides: Sides) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ImageData, "create_image", refused)
        outcome = await export(sides.list_path, **options("cloud:west", "volume:west"))
        assert (outcome.exit_code, outcome.undelivered) == (3, 4)
    failed = {(each, DeliveryState.FAILED): 4 for each in ("cloud:west", "volume:west")}
    assert states(sides) == failed
    resumed = await resume(sides.state, **options())
    assert resumed.exit_code == 3
    assert states(sides) == failed
    retried = await resume(sides.state, retry_failed=True, **options())
    assert (retried.exit_code, retried.images) == (0, outcome.images)
    assert [row.attempts for row in retried.rows] == [1] * 4
    assert await sides.copies() == Counter(row.image_name for row in outcome.rows)
    assert await sides.volumes() == {"available": 4}


async def refused(*_: object, **__: object) -> None:
    raise RefusedError("the disk format is not taken")


async def test_source_images_go_once_everything_is_delivered(sides: Sides) -> None:
    listed(sides, "cloud:west", "none", "cloud:west cloud:away", "cloud:west")
    outcome = await export(sides.list_path, **options(drop_source_image=True))
    assert outcome.exit_code == 3
    stays = {outcome.images[IDS[1]], outcome.images[IDS[2]]}
    assert set(await sides.sources()) == stays
    with stores.read(sides.state) as reader:
        counts = count_deliveries(reader)
    assert counts is not None
    assert (counts.undropped, counts.open, counts.rows_undelivered) == (0, 1, 1)


async def test_no_source_image_goes_whose_copy_is_gone(sides: Sides) -> None:
    await export(sides.list_path, **options("cloud:west"))
    async for page in sides.west.image.images():
        await sides.west.image.delete_image(page[0].image_id, fence=lambda: None)
    outcome = await resume(sides.state, **options(drop_source_image=True))
    assert outcome.exit_code == 3
    assert len(await sides.sources()) == 1


async def test_a_cancelled_export_leaves_deliveries_to_the_next(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, forever = asyncio.Event(), asyncio.Event()

    async def stuck(*_: object) -> None:
        begun.set()
        await forever.wait()

    with monkeypatch.context() as patched:
        patched.setattr(image_writer.ImageWriter, "_upload", stuck)
        task = asyncio.ensure_future(export(sides.list_path, **options("cloud:west")))
        await asyncio.wait_for(begun.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert DeliveryState.DELIVERING in {state for _, state in states(sides)}
    outcome = await resume(sides.state, **options())
    assert outcome.exit_code == 0
    assert await sides.copies() == Counter(row.image_name for row in outcome.rows)


async def test_what_is_noted_is_what_was_told_last(sides: Sides) -> None:
    saved = f"file://{sides.folder}/saved/"
    await export(sides.list_path, **options("cloud:west", drop_source_image=True, wait=False))
    with stores.read(sides.state) as reader:
        assert read_policy(reader) is None  # a run that does not wait delivers nothing
    await resume(sides.state, **options(saved, drop_source_image=False))
    with stores.read(sides.state) as reader:
        assert read_policy(reader) == DeliveryPolicy(destinations=(saved,))


@pytest.mark.parametrize(
    ("deliver", "words"),
    [
        (("cloud:nowhere",), "nowhere"),
        (("volume:west",), "the image has to be in that cloud first"),
        (("cloud:west", "cloud:west"), "given twice"),
    ],
)
async def test_destinations_that_cannot_be_start_nothing(
    sides: Sides, deliver: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        await export(sides.list_path, **options(*deliver))
    assert await sides.sources() == []


async def test_dropping_needs_a_destination(sides: Sides) -> None:
    with pytest.raises(ConfigError, match="--drop-source-image without a destination"):
        await export(sides.list_path, **options(drop_source_image=True))


async def test_a_wrong_destination_in_the_list_is_named_with_its_line(sides: Sides) -> None:
    listed(sides, "cloud:west", "clod:west", "volume:west", "none")
    with pytest.raises(JobListError) as caught:
        await export(sides.list_path, **options())
    assert [getattr(problem, "line", None) for problem in caught.value.problems] == [3, 4]
