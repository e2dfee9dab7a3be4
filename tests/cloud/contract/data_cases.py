"""What has to hold of the data of images, on every cloud that hands it out."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from batchexport.cloud import Cloud
from batchexport.errors import (
    ForbiddenError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    TransientError,
    VolumeStateError,
)
from tests.cloud.contract.site import Fence, ForbiddenByFenceError

Case = Callable[[Cloud], Awaitable[None]]
DATA = bytes(range(256)) * 2048
OTHER_PROJECT = "c4b1f0d27a6e4c5d9b3a8e7f60512d34"


async def pieces(data: bytes = DATA, *, breaks: bool = False) -> AsyncIterator[bytes]:
    """The data in pieces; `breaks` before the last half."""
    for begin in range(0, len(data), 65536):
        if breaks and begin >= len(data) // 2:
            raise OSError("the source broke")
        yield data[begin : begin + 65536]


async def created(cloud: Cloud, **fields: object) -> str:
    """A queued image of an id that we chose."""
    image_id = str(uuid.uuid4())
    common = {"name": "batchexport-test-data", "disk_format": "raw", "container_format": "bare"}
    await cloud.image.data.create_image({"id": image_id, **common, **fields}, fence=Fence())
    return image_id


async def uploaded(cloud: Cloud, **fields: object) -> str:
    image_id = await created(cloud, **fields)
    await cloud.image.data.upload(image_id, pieces(), size=len(DATA), fence=Fence())
    return image_id


async def downloaded(cloud: Cloud, image_id: str, *, offset: int = 0) -> bytes:
    async with cloud.image.data.download(image_id, offset=offset) as found:
        return b"".join([piece async for piece in found])


async def a_second_image_of_the_same_id_is_refused(cloud: Cloud) -> None:
    image_id = await created(cloud)
    with pytest.raises(VolumeStateError, match="already exists"):
        await cloud.image.data.create_image(
            {"id": image_id, "name": "again", "disk_format": "raw", "container_format": "bare"}, fence=Fence()
        )
    await cloud.image.delete_image(image_id, fence=Fence())
    with pytest.raises(VolumeStateError, match="already exists"):
        await cloud.image.data.create_image({"id": image_id, "name": "again"}, fence=Fence())


async def properties_are_there_from_the_beginning_and_can_be_found_by(cloud: Cloud) -> None:
    image_id = await created(cloud, hw_disk_bus="scsi", min_disk=3, tags=["t1"])
    document = await cloud.image.data.get_document(image_id)
    assert document is not None
    assert (document["status"], document["hw_disk_bus"], document["min_disk"], document["tags"]) == (
        "queued",
        "scsi",
        3,
        ["t1"],
    )
    await cloud.image.delete_image(image_id, fence=Fence())
    assert await cloud.image.data.get_document(image_id) is None


async def what_is_uploaded_is_what_is_downloaded(cloud: Cloud) -> None:
    image_id = await uploaded(cloud)
    image = await cloud.image.get_image(image_id)
    assert image is not None
    assert image.details is not None
    assert (image.status, image.size_bytes) == ("active", len(DATA))
    assert image.details.hash == f"sha512:{hashlib.sha512(DATA).hexdigest()}"
    assert await downloaded(cloud, image_id) == DATA
    assert await downloaded(cloud, image_id, offset=100_001) == DATA[100_001:]
    await cloud.image.delete_image(image_id, fence=Fence())
    with pytest.raises(NotFoundError):
        await downloaded(cloud, image_id)


async def an_image_without_data_is_not_an_empty_one(cloud: Cloud) -> None:
    image_id = await created(cloud)
    with pytest.raises(TransientError, match="no data"):
        await downloaded(cloud, image_id)
    await cloud.image.delete_image(image_id, fence=Fence())


async def until(cloud: Cloud, image_id: str, status: str) -> None:
    """Wait until the cloud shows the image so, half a minute at most."""
    for _ in range(300):
        image = await cloud.image.get_image(image_id)
        if image is not None and image.status == status:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"image {image_id} is not {status}")


async def an_upload_that_broke_can_be_repeated(cloud: Cloud) -> None:
    image_id = await created(cloud)
    with pytest.raises(OutcomeUnknownError):
        await cloud.image.data.upload(image_id, pieces(breaks=True), size=len(DATA), fence=Fence())
    await until(cloud, image_id, "queued")
    await cloud.image.data.upload(image_id, pieces(), size=len(DATA), fence=Fence())
    assert await downloaded(cloud, image_id) == DATA
    await cloud.image.delete_image(image_id, fence=Fence())


async def an_active_image_takes_no_data(cloud: Cloud) -> None:
    image_id = await uploaded(cloud)
    with pytest.raises(RefusedError, match="active"):
        await cloud.image.data.upload(image_id, pieces(), size=len(DATA), fence=Fence())
    await cloud.image.delete_image(image_id, fence=Fence())


async def staged_data_is_imported(cloud: Cloud) -> None:
    if "glance-direct" not in await cloud.image.data.import_methods():
        pytest.skip("no such import")
    image_id = await created(cloud)
    await cloud.image.data.upload(image_id, pieces(), size=len(DATA), staged=True, fence=Fence())
    await cloud.image.data.import_image(image_id, {"name": "glance-direct"}, fence=Fence())
    await until(cloud, image_id, "active")
    assert await downloaded(cloud, image_id) == DATA
    await cloud.image.delete_image(image_id, fence=Fence())


async def only_a_shared_image_has_members(cloud: Cloud) -> None:
    image_id = await uploaded(cloud, visibility="private")
    members = cloud.image.members
    with pytest.raises(ForbiddenError):
        await members.add_member(image_id, OTHER_PROJECT, fence=Fence())
    change = [{"op": "replace", "path": "/visibility", "value": "shared"}]
    await cloud.image.data.change_image(image_id, change, fence=Fence())
    await members.add_member(image_id, OTHER_PROJECT, fence=Fence())
    with pytest.raises(VolumeStateError, match="duplicated"):
        await members.add_member(image_id, OTHER_PROJECT, fence=Fence())
    assert [(each.member_id, each.status) for each in await members.members(image_id)] == [
        (OTHER_PROJECT, "pending")
    ]
    await cloud.image.delete_image(image_id, fence=Fence())


async def nothing_is_sent_that_the_fence_forbids(cloud: Cloud) -> None:
    image_id = await created(cloud)
    forbids = Fence(forbids=True)
    data = cloud.image.data
    with pytest.raises(ForbiddenByFenceError):
        await data.create_image({"id": str(uuid.uuid4()), "name": "n"}, fence=forbids)
    with pytest.raises(ForbiddenByFenceError):
        await data.upload(image_id, pieces(), size=len(DATA), fence=forbids)
    with pytest.raises(ForbiddenByFenceError):
        await cloud.image.members.add_member(image_id, OTHER_PROJECT, fence=forbids)
    image = await cloud.image.get_image(image_id)
    assert image is not None
    assert image.status == "queued"
    await cloud.image.delete_image(image_id, fence=Fence())


CASES: list[Case] = [
    a_second_image_of_the_same_id_is_refused,
    properties_are_there_from_the_beginning_and_can_be_found_by,
    what_is_uploaded_is_what_is_downloaded,
    an_image_without_data_is_not_an_empty_one,
    an_upload_that_broke_can_be_repeated,
    an_active_image_takes_no_data,
    staged_data_is_imported,
    only_a_shared_image_has_members,
    nothing_is_sent_that_the_fence_forbids,
]
