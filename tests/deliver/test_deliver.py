"""Deliveries with the real client, between two sandboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aiohttp import web

from batchexport.app.console import NullConsole
from batchexport.app.restore import restore
from batchexport.cloud.copies import CopyService
from batchexport.cloud.image_data import ImageData
from batchexport.config import CloudSettings, Settings
from batchexport.deliveries import Delivery, DeliveryState
from batchexport.engine.deliver import destination_loop, image_writer
from batchexport.errors import ConfigError, OutcomeUnknownError, StateInUseError
from batchexport.objects.folder import Folder
from batchexport.retry import Backoff
from batchexport.sandbox import Faults, SandboxSettings
from batchexport.sandbox import image_data as sandbox_data
from batchexport.store import stores
from batchexport.transfer import stall
from tests.deliver.conftest import LIMITS, Two, data_of, each_image_is_there_once, files
from tests.store.making import image

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of seconds become moments; how often is looked stays the same."""
    monkeypatch.setattr(destination_loop, "BETWEEN_TRIES", Backoff(first_s=0.01, cap_s=0.01))
    monkeypatch.setattr(destination_loop, "UNREACHABLE", Backoff(first_s=0.01, cap_s=0.01))
    monkeypatch.setattr(destination_loop, "AWAY_FOR_S", 0.015)
    monkeypatch.setattr(image_writer, "_LOOK_S", 0.01)
    monkeypatch.setattr(image_writer, "STUCK_AFTER_S", 0.3)
    monkeypatch.setattr(image_writer, "UNSEEN_FOR_S", 0.05)


async def test_what_describes_the_content_travels_and_nothing_else(two: Two) -> None:
    outcome = await two.deliver("cloud:west")
    document = await two.west.image.data.get_document(outcome.deliveries[0].result_id or "")
    assert document is not None
    assert document["name"] == "image-1"
    assert (document["min_disk"], document["tags"]) == (2, ["nightly"])
    assert (document["hw_disk_bus"], document["os_distro"]) == ("scsi", "debian")
    assert document["visibility"] == "private"
    assert not [name for name in document if name.startswith("owner_specified")]


@pytest.mark.parametrize("east_settings", [SandboxSettings(faults=Faults(cut_share=1.0))])
async def test_a_cut_download_goes_on_where_it_stopped(two: Two) -> None:
    outcome = await two.deliver("cloud:west")
    assert outcome.open == 0
    assert {each.attempt for each in outcome.deliveries} == {1}
    await each_image_is_there_once(two)


@pytest.mark.parametrize("west_settings", [SandboxSettings(faults=Faults(wrong_byte_share=1.0, seed=1))])
async def test_a_wrong_byte_is_found_and_the_copy_made_again(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fault strikes the first upload of each image id: as many as a command tries.
    outcome = await two.deliver("cloud:west")
    assert outcome.open == 3
    assert all("sha512" in (each.reason or "") for each in outcome.deliveries)
    assert await two.west_images() == []


async def test_one_wrong_byte_costs_one_more_copy(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt: list[str] = []
    plain = ImageData.upload

    async def upload(self: ImageData, image_id: str, pieces: Any, **options: Any) -> None:
        if spoilt:
            await plain(self, image_id, pieces, **options)
            return
        spoilt.append(image_id)

        async def wrong() -> Any:
            async for piece in pieces:
                yield bytes([piece[0] ^ 1]) + piece[1:]

        await plain(self, image_id, wrong(), **options)

    monkeypatch.setattr(ImageData, "upload", upload)
    outcome = await two.deliver("cloud:west")
    assert outcome.open == 0
    assert spoilt[0] not in {each.result_id for each in outcome.deliveries}
    await each_image_is_there_once(two)


async def test_an_upload_that_stalls_is_given_up_and_sent_again(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, hung = sandbox_data._received, list[str]()
    allowed_s, given_up = stall.StallWatch._allowed_s, list[stall.StallWatch]()
    sleep = asyncio.sleep

    async def hangs_once(request: web.Request, state: Any, image_id: str) -> Any:
        if hung:
            return await plain(request, state, image_id)
        hung.append(image_id)
        while request.transport is not None:  # until the client closes the connection
            await sleep(0.01)
        raise OSError

    def nothing_once(watch: stall.StallWatch, patience_s: float) -> float:
        if not hung or (given_up and watch not in given_up):
            return allowed_s(watch, patience_s)
        given_up[:] = [watch]
        return -1e6  # whatever was given, it is too long ago

    monkeypatch.setattr(sandbox_data, "_received", hangs_once)
    monkeypatch.setattr(stall, "_sleep", lambda _: sleep(0.01))
    monkeypatch.setattr(stall.StallWatch, "_allowed_s", nothing_once)
    outcome = await two.deliver("cloud:west", max_transfers=1)
    assert given_up
    assert outcome.open == 0
    # Its image is queued again, or still saving when the client comes back: then another takes its place.
    await each_image_is_there_once(two)


async def test_a_slow_destination_leaves_room_for_the_others(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, write, all_saved = ImageData.upload, Folder.write, asyncio.Event()
    saved: list[str] = []

    async def slow(self: ImageData, *args: Any, **options: Any) -> None:
        await all_saved.wait()
        await upload(self, *args, **options)

    async def counted(self: Folder, name: str, text: bytes) -> None:
        await write(self, name, text)
        saved.append(name)
        if len(saved) == 3:
            all_saved.set()

    monkeypatch.setattr(ImageData, "upload", slow)
    monkeypatch.setattr(Folder, "write", counted)
    folder = two.folder / "backups"
    outcome = await two.deliver("cloud:west", folder.as_uri() + "/", max_transfers=2)
    assert outcome.open == 0


def lost_once(plain: Callable[..., Any]) -> Callable[..., Any]:
    """The call, carried out each time, and without an answer the first time."""
    lost: list[bool] = []

    async def call(*args: Any, **options: Any) -> Any:
        answer = await plain(*args, **options)
        if not lost:
            lost.append(True)
            raise OutcomeUnknownError("no answer")
        return answer

    return call


@pytest.mark.parametrize("name", ["create_image", "upload"])
async def test_a_lost_answer_makes_no_second_copy(
    two: Two, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageData, name, lost_once(getattr(ImageData, name)))
    outcome = await two.deliver("cloud:west")
    assert outcome.open == 0
    await each_image_is_there_once(two)


def id_of(two: Two, number: int, generation: int = 0) -> str:
    """The id of the copy of an image in the west."""
    return delivery_of(number).made_id(two.run_id, generation)


def delivery_of(number: int) -> Delivery:
    return Delivery(
        delivery_id=number,
        job_id=number,
        line=number + 1,
        volume_id="",
        image_id=image(number),
        image_name="",
        position=1,
        destination="cloud:west",
        state=DeliveryState.PENDING,
        attempt=0,
        generation=0,
    )


async def test_an_image_in_our_place_that_is_not_ours_stays(two: Two) -> None:
    fields = {"id": id_of(two, 1), "name": "theirs", "disk_format": "raw", "container_format": "bare"}
    await two.west.image.data.create_image(fields, fence=lambda: None)
    outcome = await two.deliver("cloud:west")
    assert [each.state for each in outcome.deliveries] == ["failed", "delivered", "delivered"]
    assert "not ours" in (outcome.deliveries[0].reason or "")
    assert await two.west.image.get_image(id_of(two, 1)) is not None


async def test_a_destination_that_is_away_holds_its_own_deliveries_only(two: Two) -> None:
    outcome = await two.deliver("cloud:away", "cloud:west")
    states = {(each.destination, each.state) for each in outcome.deliveries}
    assert states == {
        ("cloud:away", DeliveryState.PENDING),
        ("cloud:west", DeliveryState.DELIVERED),
    }
    assert all(each.reason for each in outcome.deliveries if each.destination == "cloud:away")


async def test_a_volume_is_made_of_the_copy_once(two: Two) -> None:
    destinations = ("cloud:west", "volume:west")
    outcome = await two.deliver(*destinations)
    assert outcome.open == 0
    again = await two.deliver(*destinations)
    assert again.open == 0
    pages = two.west.copies.marked_volumes({})
    volumes = [each async for page in pages for each in page]
    assert {each.size_gib for each in volumes} == {2}
    assert len(volumes) == 3


async def test_a_lost_answer_makes_no_second_volume(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CopyService, "create_volume", lost_once(CopyService.create_volume))
    outcome = await two.deliver("cloud:west", "volume:west")
    assert outcome.open == 0
    volumes = [each async for page in two.west.copies.marked_volumes({}) for each in page]
    assert len(volumes) == 3


async def test_an_image_is_shared_once(two: Two) -> None:
    for _ in range(2):
        outcome = await two.deliver("project:c4b1f0d27a6e4c5d9b3a8e7f60512d34")
        assert outcome.open == 0
    members = await two.east.image.members.members(image(1))
    assert [each.member_id for each in members] == ["c4b1f0d27a6e4c5d9b3a8e7f60512d34"]


async def test_a_file_that_changed_since_is_not_restored(two: Two) -> None:
    await two.deliver(f"file://{two.folder}/saved/")
    (data,) = [name for name in files(two.folder / "saved") if name.endswith(f"{image(1)}.raw")]
    path = two.folder / "saved" / data
    await asyncio.to_thread(path.write_bytes, data_of(1)[:-1] + b"\0")
    (result,) = await restore(
        [f"{path}.manifest.json"],
        Settings(limits=LIMITS),
        CloudSettings(cloud="west"),
        max_transfers=2,
        bandwidth=None,
        console=NullConsole(),
    )
    assert result.image_id is None
    assert "sha512" in result.reason
    assert await two.west_images() == []


async def test_a_source_goes_only_when_everything_is_delivered_and_there(two: Two) -> None:
    outcome = await two.deliver("cloud:away", "cloud:west", drop_source=True)
    assert outcome.kept == 3
    assert await two.east.image.get_image(image(1)) is not None
    await two.deliver("cloud:west")
    first = next(each for each in outcome.deliveries if each.destination == "cloud:west")
    await two.west.image.delete_image(first.result_id or "", fence=lambda: None)
    with stores.read(two.state) as reader:
        assert reader.run.rows == 3
    outcome = await two.deliver("cloud:west", drop_source=True)
    # What was to `away` is on record, and not there: everything of the row has to be.
    assert outcome.kept == 3


async def test_a_vehicle_is_deleted(two: Two) -> None:
    outcome = await two.deliver("cloud:west", drop_source=True)
    assert (outcome.open, outcome.kept) == (0, 0)
    assert await two.east.image.get_image(image(1)) is None
    await each_image_is_there_once(two)


async def test_a_copy_that_vanished_keeps_its_source(two: Two) -> None:
    first = (await two.deliver("cloud:west")).deliveries[0]
    await two.west.image.delete_image(first.result_id or "", fence=lambda: None)
    outcome = await two.deliver("cloud:west", drop_source=True)
    assert [each.is_gone for each in outcome.dropped] == [False, True, True]
    assert await two.east.image.get_image(image(1)) is not None


async def test_a_shared_image_is_no_vehicle(two: Two) -> None:
    outcome = await two.deliver("cloud:west", "project:p1", drop_source=True)
    assert outcome.open == 0
    assert [each.is_gone for each in outcome.dropped] == [False] * 3


@pytest.mark.parametrize(
    ("properties", "words"),
    [({"cinder_encryption_key_id": "k1"}, "encrypted"), ({"__system__encrypted": "1"}, "encrypted")],
)
async def test_what_cannot_be_delivered_says_why(two: Two, properties: Mapping[str, str], words: str) -> None:
    changes = [{"op": "add", "path": f"/{name}", "value": value} for name, value in properties.items()]
    await two.east.image.data.change_image(image(1), changes, fence=lambda: None)
    outcome = await two.deliver("cloud:west")
    assert [each.state for each in outcome.deliveries] == ["failed", "delivered", "delivered"]
    assert words in (outcome.deliveries[0].reason or "")


async def test_two_processes_do_not_deliver_the_same_rows(two: Two) -> None:
    async with stores.open_for_work(two.state) as store:
        await store.take(1)
        with pytest.raises(StateInUseError):
            await two.deliver("cloud:west")
    assert await two.west_images() == []


@pytest.mark.parametrize(
    ("destinations", "words"),
    [
        (["cloud:nowhere"], "nowhere"),
        (["volume:west"], "in that cloud first"),
        (["cloud:west", "cloud:west"], "twice"),
    ],
)
async def test_wrong_destinations_send_nothing(two: Two, destinations: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        await two.deliver(*destinations)
    assert await two.west_images() == []
