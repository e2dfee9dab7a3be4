"""The cases of snapshots and temporary volumes; otherwise as `cases`. What a case makes it deletes."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from batchexport.dialect import DialectName
from batchexport.errors import NotFoundError, RefusedError, VolumeStateError
from batchexport.model import Snapshot, SnapshotRequest, Volume, VolumeRequest
from tests.cloud.contract.cases import Case
from tests.cloud.contract.site import MISSING, Fence, ForbiddenByFenceError, Site


def snapshot_request(site: Site, volume_id: str, name: str = "snap") -> SnapshotRequest:
    return SnapshotRequest(
        volume_id=volume_id, name=f"{site.name}-{name}", description="a test", metadata=mark(site)
    )


def mark(site: Site) -> Mapping[str, str]:
    """Metadata that no other run has."""
    return {"batchexport_test": site.name}


async def snapshots_of(site: Site) -> dict[str, Snapshot]:
    """Every snapshot of this run that a list shows, by id."""
    pages = site.cloud.copies.marked_snapshots(mark(site))
    found = [each async for page in pages for each in page]
    return {each.snapshot_id: each for each in found if each.metadata == mark(site)}


async def volumes_of(site: Site) -> dict[str, Volume]:
    """Every volume of this run that a list shows, by id."""
    pages = site.cloud.copies.marked_volumes(mark(site))
    found = [each async for page in pages for each in page]
    return {each.volume_id: each for each in found if each.details and each.details.metadata == mark(site)}


@asynccontextmanager
async def snapshot_of(site: Site, volume_id: str) -> AsyncIterator[Snapshot]:
    """A snapshot that is available; deleted at the end."""
    made = await site.cloud.copies.create_snapshot(snapshot_request(site, volume_id), fence=Fence())
    yield await until_snapshot(site, made.snapshot_id)
    await delete_snapshot(site, made.snapshot_id)


async def until_snapshot(site: Site, snapshot_id: str) -> Snapshot:
    """The snapshot, once it is available."""
    snapshot = await site.until(
        lambda: site.cloud.copies.get_snapshot(snapshot_id),
        lambda found: found is not None and found.status == "available",
    )
    assert snapshot is not None
    return snapshot


async def delete_snapshot(site: Site, snapshot_id: str) -> None:
    await site.cloud.copies.delete_snapshot(snapshot_id, fence=Fence())
    await site.until(lambda: site.cloud.copies.get_snapshot(snapshot_id), lambda snapshot: snapshot is None)


async def delete_volume(site: Site, volume_id: str) -> None:
    await site.cloud.copies.delete_volume(volume_id, fence=Fence())
    await site.until(lambda: site.cloud.block_storage.get_volume(volume_id), lambda volume: volume is None)


async def request_of(site: Site, source_id: str, snapshot_id: str | None) -> VolumeRequest:
    """A request for a temporary volume like the source."""
    source = await site.cloud.block_storage.get_volume(source_id)
    assert source is not None
    details = source.details
    return VolumeRequest(
        name=f"{site.name}-temporary",
        description="a test",
        metadata=mark(site),
        snapshot_id=snapshot_id,
        source_volume_id=source_id if snapshot_id is None else None,
        size_gib=source.size_gib,
        volume_type=details.volume_type if details else None,
        availability_zone=details.availability_zone if details else None,
    )


async def temporary(site: Site, source_id: str, snapshot_id: str | None) -> Volume:
    """A temporary volume that is available."""
    request = await request_of(site, source_id, snapshot_id)
    made = await site.cloud.copies.create_volume(request, fence=Fence())
    assert made.volume_id != source_id
    await site.until_status(made.volume_id, "available")
    return made


async def a_snapshot_is_made_shown_listed_and_deleted(site: Site) -> None:
    fence = Fence()
    request = snapshot_request(site, site.volumes[0])
    made = await site.cloud.copies.create_snapshot(request, fence=fence)
    assert fence.calls == 1
    assert (made.name, made.volume_id, made.metadata) == (request.name, site.volumes[0], mark(site))
    shown = await until_snapshot(site, made.snapshot_id)
    assert (shown.name, shown.volume_id, shown.in_group) == (request.name, site.volumes[0], False)
    assert shown.created_at is not None
    assert abs(shown.created_at - site.cloud.server_now_s()) < 600
    source = await site.cloud.block_storage.get_volume(site.volumes[0])
    assert source is not None
    assert (source.status, shown.size_gib) == ("available", source.size_gib)
    assert await snapshots_of(site) == {made.snapshot_id: shown}
    await delete_snapshot(site, made.snapshot_id)
    assert await snapshots_of(site) == {}
    with pytest.raises(NotFoundError):
        await site.cloud.copies.delete_snapshot(made.snapshot_id, fence=Fence())


async def a_volume_is_made_of_a_snapshot_exported_and_deleted(site: Site) -> None:
    async with snapshot_of(site, site.volumes[0]) as snapshot:
        copy = await temporary(site, site.volumes[0], snapshot.snapshot_id)
        (listed,) = (await volumes_of(site)).values()
        assert (listed.volume_id, listed.name, listed.status) == (copy.volume_id, copy.name, "available")
        assert listed.details is not None
        assert (listed.details.snapshot_id, listed.server_ids) == (snapshot.snapshot_id, ())
        image = await site.exported(copy.volume_id, f"{site.name}-of-a-copy")
        await delete_volume(site, copy.volume_id)
    assert await volumes_of(site) == {}
    assert (await site.until_active(image.image_id)).name == f"{site.name}-of-a-copy"
    source = await site.cloud.block_storage.get_volume(site.volumes[0])
    assert source is not None
    assert source.status == "available"


async def a_clone_is_made_or_refused_without_a_request(site: Site) -> None:
    if site.cloud.dialect.name is DialectName.CINDER:
        copy = await temporary(site, site.volumes[0], None)
        (listed,) = (await volumes_of(site)).values()
        assert listed.details is not None
        assert (listed.volume_id, listed.details.source_volume_id) == (copy.volume_id, site.volumes[0])
        await delete_volume(site, copy.volume_id)
        return
    fence = Fence()
    with pytest.raises(RefusedError):
        request = await request_of(site, site.volumes[0], None)
        await site.cloud.copies.create_volume(request, fence=fence)
    assert fence.calls == 0


async def an_image_id_chosen_beforehand_is_that_of_the_image_and_cannot_be_used_again(site: Site) -> None:
    chosen = str(uuid.uuid4())
    async with snapshot_of(site, site.volumes[0]) as snapshot:
        copy = await temporary(site, site.volumes[0], snapshot.snapshot_id)
        metadata = {"id": chosen, "batchexport_test": site.name}
        try:
            await site.cloud.copies.set_image_metadata(copy.volume_id, metadata, fence=Fence())
        except RefusedError:  # the port allows it
            assert site.cloud.dialect.name is not DialectName.CINDER
        else:
            assert (await site.exported(copy.volume_id, f"{site.name}-chosen")).image_id == chosen
            with pytest.raises(RefusedError):
                await site.export(copy.volume_id, f"{site.name}-once-more")
            await site.until_status(copy.volume_id, "available")
            assert await site.cloud.image.images_named(f"{site.name}-once-more") == []
        await delete_volume(site, copy.volume_id)


async def what_is_not_there_is_none_and_cannot_be_deleted_nor_copied(site: Site) -> None:
    assert await site.cloud.copies.get_snapshot(MISSING) is None
    for delete in (site.cloud.copies.delete_snapshot, site.cloud.copies.delete_volume):
        with pytest.raises(NotFoundError):
            await delete(MISSING, fence=Fence())
    with pytest.raises(NotFoundError):
        await site.cloud.copies.create_snapshot(snapshot_request(site, MISSING), fence=Fence())
    with pytest.raises(RefusedError):
        request = await request_of(site, site.volumes[0], MISSING)
        await site.cloud.copies.create_volume(request, fence=Fence())
    assert (await snapshots_of(site), await volumes_of(site)) == ({}, {})


async def a_volume_being_exported_takes_no_snapshot_and_is_not_deleted(site: Site) -> None:
    accepted = await site.export(site.volumes[0], f"{site.name}-busy")
    with pytest.raises(VolumeStateError):
        request = snapshot_request(site, site.volumes[0])
        await site.cloud.copies.create_snapshot(request, fence=Fence())
    with pytest.raises(VolumeStateError):
        await site.cloud.copies.delete_volume(site.volumes[0], fence=Fence())
    await site.until_active(accepted.image_id)
    await site.until_status(site.volumes[0], "available")


async def a_volume_with_a_snapshot_is_not_deleted(site: Site) -> None:
    async with snapshot_of(site, site.volumes[0]):
        with pytest.raises(VolumeStateError):
            await site.cloud.copies.delete_volume(site.volumes[0], fence=Fence())
        assert await site.cloud.block_storage.get_volume(site.volumes[0]) is not None


async def nothing_is_made_or_deleted_that_its_fence_forbids(site: Site) -> None:
    async with snapshot_of(site, site.volumes[0]) as snapshot:
        copies = site.cloud.copies
        another = snapshot_request(site, site.volumes[1])
        of_it = await request_of(site, site.volumes[0], snapshot.snapshot_id)
        with pytest.raises(ForbiddenByFenceError):
            await copies.create_snapshot(another, fence=Fence(forbids=True))
        with pytest.raises(ForbiddenByFenceError):
            await copies.create_volume(of_it, fence=Fence(forbids=True))
        with pytest.raises(ForbiddenByFenceError):
            await copies.delete_snapshot(snapshot.snapshot_id, fence=Fence(forbids=True))
        with pytest.raises(ForbiddenByFenceError):
            await copies.delete_volume(site.volumes[0], fence=Fence(forbids=True))
        assert list(await snapshots_of(site)) == [snapshot.snapshot_id]
        assert await volumes_of(site) == {}


async def the_quotas_grow_by_what_is_made(site: Site) -> None:
    before = await site.cloud.copies.get_storage_quota()
    async with snapshot_of(site, site.volumes[0]) as snapshot:
        during = await site.cloud.copies.get_storage_quota()
    if before is None or during is None:
        return
    size_gib = snapshot.size_gib or 0
    for name, more in (("volumes", 0), ("snapshots", 1), ("gigabytes", size_gib)):
        assert during.quotas[name].used - before.quotas[name].used in (0, more)  # a quota may spare snapshots


async def a_volume_in_use_is_copied_while_its_server_runs(site: Site) -> None:
    assert site.in_use is not None
    async with snapshot_of(site, site.in_use) as snapshot:
        source = await site.cloud.block_storage.get_volume(site.in_use)
        assert source is not None
        assert source.status == "in-use"
        copy = await temporary(site, site.in_use, snapshot.snapshot_id)
        await site.exported(copy.volume_id, f"{site.name}-in-use")
        await delete_volume(site, copy.volume_id)
    assert (await site.cloud.compute.get_server(site.servers[0])).status == "active"


COPY_CASES: Sequence[Case] = (
    a_snapshot_is_made_shown_listed_and_deleted,
    a_volume_is_made_of_a_snapshot_exported_and_deleted,
    a_clone_is_made_or_refused_without_a_request,
    an_image_id_chosen_beforehand_is_that_of_the_image_and_cannot_be_used_again,
    what_is_not_there_is_none_and_cannot_be_deleted_nor_copied,
    a_volume_being_exported_takes_no_snapshot_and_is_not_deleted,
    a_volume_with_a_snapshot_is_not_deleted,
    nothing_is_made_or_deleted_that_its_fence_forbids,
    the_quotas_grow_by_what_is_made,
)
COPY_CASES_WITH_SERVERS: Sequence[Case] = (a_volume_in_use_is_copied_while_its_server_runs,)
