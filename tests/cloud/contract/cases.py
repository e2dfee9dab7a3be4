"""The cases. Each gets a fresh cloud, and says in its name what has to hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from batchexport.dialect import DIALECTS
from batchexport.errors import NotFoundError, RefusedError, VolumeStateError
from batchexport.image_labels import Labels
from batchexport.model import NO_OPTIONS, ExportRequest
from tests.cloud.contract.site import MISSING, Fence, ForbiddenByFenceError, Site, ids_of

Case = Callable[[Site], Awaitable[None]]


# Reading block storage -----------------------------------------------------------------------------------


async def a_volume_is_read_by_its_id(site: Site) -> None:
    volume = await site.cloud.block_storage.get_volume(site.volumes[0])
    assert volume is not None
    assert (volume.volume_id, volume.status) == (site.volumes[0], "available")
    assert volume.size_gib is not None
    assert volume.size_gib > 0


async def a_missing_volume_is_none(site: Site) -> None:
    assert await site.cloud.block_storage.get_volume(MISSING) is None


async def a_volume_that_was_exported_is_listed_with_its_details(site: Site) -> None:
    await site.exported(site.volumes[0], f"{site.name}-listed")
    pages = [page async for page in site.cloud.block_storage.volumes()]
    found = {volume.volume_id: volume for page in pages for volume in page}
    assert found[site.volumes[0]].status == "available"
    assert sum(len(page) for page in pages) == len(found)


# Exporting -----------------------------------------------------------------------------------------------


async def an_export_makes_an_image_at_once_and_keeps_the_volume_busy(site: Site) -> None:
    accepted = await site.export(site.volumes[0], f"{site.name}-begun")
    image = await site.cloud.image.get_image(accepted.image_id)
    assert image is not None
    assert (image.image_id, image.name) == (accepted.image_id, f"{site.name}-begun")
    assert image.status in ("queued", "saving")
    volume = await site.cloud.block_storage.get_volume(site.volumes[0])
    assert volume is not None
    assert volume.status == "uploading"


async def uploading_volumes_are_listed_by_that_status_and_no_others(site: Site) -> None:
    await site.exported(site.volumes[1], f"{site.name}-done")
    await site.export(site.volumes[0], f"{site.name}-under-way")
    pages = site.cloud.block_storage.volumes(status="uploading")
    uploading = {volume.volume_id: volume.status async for page in pages for volume in page}
    assert uploading.keys() & set(site.volumes) == {site.volumes[0]}
    assert set(uploading.values()) == {"uploading"}


async def a_finished_export_is_an_active_image_and_a_free_volume(site: Site) -> None:
    image = await site.exported(site.volumes[0], f"{site.name}-whole")
    assert image.created_at is not None
    assert image.updated_at is not None
    assert image.created_at <= image.updated_at


async def a_volume_that_is_uploading_refuses_a_second_export(site: Site) -> None:
    await site.export(site.volumes[0], f"{site.name}-first")
    with pytest.raises(VolumeStateError):
        await site.export(site.volumes[0], f"{site.name}-second")
    assert await site.cloud.image.images_named(f"{site.name}-second") == []


async def a_missing_volume_cannot_be_exported(site: Site) -> None:
    with pytest.raises(NotFoundError):
        await site.export(MISSING, f"{site.name}-missing")


async def a_volume_in_use_is_refused_without_force(site: Site) -> None:
    assert site.in_use is not None
    with pytest.raises(VolumeStateError):
        await site.export(site.in_use, f"{site.name}-in-use")


async def an_export_asks_its_fence_once_before_it_is_sent(site: Site) -> None:
    fence = Fence()
    request = ExportRequest(volume_id=site.volumes[0], image_name=f"{site.name}-fenced", options=NO_OPTIONS)
    await site.cloud.block_storage.upload_volume_to_image(request, fence=fence)
    assert fence.calls == 1


async def an_export_that_its_fence_forbids_is_not_sent(site: Site) -> None:
    request = ExportRequest(volume_id=site.volumes[0], image_name=f"{site.name}-kept", options=NO_OPTIONS)
    with pytest.raises(ForbiddenByFenceError):
        await site.cloud.block_storage.upload_volume_to_image(request, fence=Fence(forbids=True))
    volume = await site.cloud.block_storage.get_volume(site.volumes[0])
    assert volume is not None
    assert volume.status == "available"
    assert await site.cloud.image.images_named(f"{site.name}-kept") == []


async def a_failed_export_leaves_a_free_volume_and_no_active_image(site: Site) -> None:
    assert site.failing is not None
    accepted = await site.export(site.failing, f"{site.name}-fails")
    await site.until_status(site.failing, "available")
    image = await site.cloud.image.get_image(accepted.image_id)
    assert image is None or image.status != "active"
    reason = await site.cloud.block_storage.failure_reason(site.failing, accepted.request_id)
    assert reason is None or reason == reason.strip() != ""


# Images --------------------------------------------------------------------------------------------------


async def a_missing_image_is_none(site: Site) -> None:
    assert await site.cloud.image.get_image(MISSING) is None


async def images_are_found_by_exactly_their_name(site: Site) -> None:
    image = await site.exported(site.volumes[0], f"{site.name}-a")
    await site.exported(site.volumes[1], f"{site.name}-ab")
    named = await site.cloud.image.images_named(f"{site.name}-a")
    assert [(found.image_id, found.status) for found in named] == [(image.image_id, "active")]
    assert await site.cloud.image.images_named(f"{site.name}-") == []


async def an_image_is_found_by_its_name_while_it_is_made(site: Site) -> None:
    accepted = await site.export(site.volumes[0], f"{site.name}-early")
    named = await site.cloud.image.images_named(f"{site.name}-early")
    assert [found.image_id for found in named] == [accepted.image_id]


async def images_are_listed_by_status_and_time_of_change(site: Site) -> None:
    before_s = int(site.cloud.server_now_s())
    first = await site.exported(site.volumes[0], f"{site.name}-1")
    unfinished = await site.export(site.volumes[1], f"{site.name}-2")
    assert first.updated_at is not None
    listed = await ids_of(site.cloud.image.images(status="active", updated_since=before_s))
    assert first.image_id in listed
    assert unfinished.image_id not in listed
    exactly = await ids_of(site.cloud.image.images(status="active", updated_since=first.updated_at))
    assert first.image_id in exactly  # the bound is inclusive
    later = await ids_of(site.cloud.image.images(status="active", updated_since=first.updated_at + 1))
    assert first.image_id not in later


async def images_are_listed_longest_unchanged_first_and_by_creation_oldest_first(site: Site) -> None:
    before_s = int(site.cloud.server_now_s())
    first = await site.export(site.volumes[0], f"{site.name}-1")
    await asyncio.sleep(1.1)  # their times are whole seconds
    second = await site.export(site.volumes[1], f"{site.name}-2")
    await site.until_active(first.image_id)  # as a rule, the second has not changed since
    pages = site.cloud.image.images(updated_since=before_s)
    by_change = {image.image_id: image.updated_at or 0.0 async for page in pages for image in page}
    assert by_change.keys() >= {first.image_id, second.image_id}
    assert list(by_change.values()) == sorted(by_change.values())
    listed = await ids_of(site.cloud.image.images(created_since=before_s))
    assert [image_id for image_id in listed if image_id in by_change] == [first.image_id, second.image_id]


async def images_are_listed_by_their_time_of_creation(site: Site) -> None:
    image = await site.exported(site.volumes[0], f"{site.name}-1")
    assert image.created_at is not None
    assert image.image_id in await ids_of(site.cloud.image.images(created_since=image.created_at))
    assert image.image_id not in await ids_of(site.cloud.image.images(created_since=image.created_at + 1))


async def images_are_listed_by_their_ids_or_not_at_all(site: Site) -> None:
    first = await site.exported(site.volumes[0], f"{site.name}-1")
    second = await site.export(site.volumes[1], f"{site.name}-2")
    pages = site.cloud.image.images_by_id([first.image_id, MISSING, second.image_id])
    try:
        listed = await ids_of(pages)
    except RefusedError:  # the port allows it: the caller reads each by itself then
        return
    assert sorted(listed) == sorted([first.image_id, second.image_id])


async def a_deleted_image_is_gone(site: Site) -> None:
    fence = Fence()
    image = await site.exported(site.volumes[0], f"{site.name}-old")
    await site.cloud.image.delete_image(image.image_id, fence=fence)
    assert fence.calls == 1
    assert await site.cloud.image.get_image(image.image_id) is None
    assert await site.cloud.image.images_named(f"{site.name}-old") == []
    with pytest.raises(NotFoundError):
        await site.cloud.image.delete_image(image.image_id, fence=Fence())


async def a_missing_image_cannot_be_deleted(site: Site) -> None:
    with pytest.raises(NotFoundError):
        await site.cloud.image.delete_image(MISSING, fence=Fence())


async def an_image_whose_deletion_its_fence_forbids_stays(site: Site) -> None:
    image = await site.exported(site.volumes[0], f"{site.name}-stays")
    with pytest.raises(ForbiddenByFenceError):
        await site.cloud.image.delete_image(image.image_id, fence=Fence(forbids=True))
    assert await site.cloud.image.get_image(image.image_id) is not None


async def a_quota_is_told_or_none(site: Site) -> None:
    quota = await site.cloud.image.get_quota()
    assert quota is None or quota.left == max(0, quota.allowed - quota.used)


# Servers -------------------------------------------------------------------------------------------------


async def servers_are_read_together_and_alone(site: Site) -> None:
    found = await site.servers_by_id(*site.servers)
    assert {server_id: server.status for server_id, server in found.items()} == dict.fromkeys(
        site.servers, "active"
    )
    alone = await site.cloud.compute.get_server(site.servers[0])
    assert (alone.server_id, alone.status, alone.exists) == (site.servers[0], "active", True)
    assert alone.volume_ids is None or alone.volume_ids == (site.in_use,)


async def a_volume_names_its_server(site: Site) -> None:
    assert site.in_use is not None
    volume = await site.cloud.block_storage.get_volume(site.in_use)
    assert volume is not None
    assert (volume.status, volume.server_ids) == ("in-use", (site.servers[0],))


async def a_missing_server_is_told_as_such_by_its_id(site: Site) -> None:
    server = await site.cloud.compute.get_server(MISSING)
    assert (server.server_id, server.exists) == (MISSING, False)
    found = await site.servers_by_id(site.servers[0], MISSING)
    assert found[site.servers[0]].exists
    assert MISSING not in found or not found[MISSING].exists


async def a_server_is_stopped_and_started_again(site: Site) -> None:
    server_id, other = site.servers
    assert await site.cloud.compute.stop_servers([server_id], hard=False, fence=Fence()) == {}
    await site.until_server(server_id, "shutoff")
    assert (await site.cloud.compute.get_server(other)).status == "active"
    assert await site.cloud.compute.start_servers([server_id], fence=Fence()) == {}
    await site.until_server(server_id, "active")


async def servers_are_stopped_and_started_together(site: Site) -> None:
    assert await site.cloud.compute.stop_servers(site.servers, hard=False, fence=Fence()) == {}
    for server_id in site.servers:
        await site.until_server(server_id, "shutoff")
    assert await site.cloud.compute.start_servers(site.servers, fence=Fence()) == {}
    for server_id in site.servers:
        await site.until_server(server_id, "active")


async def a_missing_server_does_not_keep_another_from_stopping(site: Site) -> None:
    failed = await site.cloud.compute.stop_servers([MISSING, site.servers[0]], hard=False, fence=Fence())
    assert set(failed) == {MISSING}
    await site.until_server(site.servers[0], "shutoff")
    assert set(await site.cloud.compute.start_servers([MISSING], fence=Fence())) == {MISSING}


async def an_order_that_was_carried_out_already_harms_nothing(site: Site) -> None:
    assert await site.cloud.compute.stop_servers([site.servers[0]], hard=False, fence=Fence()) == {}
    await site.until_server(site.servers[0], "shutoff")
    again = await site.cloud.compute.stop_servers([site.servers[0]], hard=False, fence=Fence())
    assert all(isinstance(error, RefusedError) for error in again.values())  # Nova refuses it, ECS does not
    await site.until_server(site.servers[0], "shutoff")


async def servers_whose_stop_their_fence_forbids_run_on(site: Site) -> None:
    with pytest.raises(ForbiddenByFenceError):
        await site.cloud.compute.stop_servers(site.servers, hard=False, fence=Fence(forbids=True))
    found = await site.servers_by_id(*site.servers)
    assert {(server.status, server.task) for server in found.values()} == {("active", None)}


# Labels --------------------------------------------------------------------------------------------------


async def properties_of_a_finished_image_are_set_and_read_back(site: Site) -> None:
    image = await site.exported(site.volumes[0], f"{site.name}-labelled")
    labels, wanted = site.cloud.image.labels, Labels(properties={"team": "storage", "a.b-c_d:1": "数据 = 1"})
    before = await labels.labelled([image.image_id, MISSING])
    assert before.keys() == {image.image_id}
    assert wanted.lacking_in(before[image.image_id].labels) == wanted
    await labels.set_labels(image.image_id, wanted, fence=Fence())
    await labels.set_labels(image.image_id, wanted, fence=Fence())  # twice is once
    after = (await labels.labelled([MISSING, image.image_id]))[image.image_id]
    assert after.status == "active"
    assert not wanted.lacking_in(after.labels)


async def tags_are_set_along_with_properties_where_the_cloud_takes_them(site: Site) -> None:
    if not site.cloud.dialect.takes_tags:
        return
    image = await site.exported(site.volumes[1], f"{site.name}-tagged")
    labels = site.cloud.image.labels
    wanted = Labels(properties={"team": "storage"}, tags=("nightly", "gold"))
    await labels.set_labels(image.image_id, wanted, fence=Fence())
    (after,) = (await labels.labelled([image.image_id])).values()
    assert not wanted.lacking_in(after.labels)
    assert set(after.labels.tags) == {"nightly", "gold"}


async def labels_that_their_fence_forbids_are_not_set(site: Site) -> None:
    image = await site.exported(site.volumes[2], f"{site.name}-unlabelled")
    labels, wanted = site.cloud.image.labels, Labels(properties={"team": "storage"})
    with pytest.raises(ForbiddenByFenceError):
        await labels.set_labels(image.image_id, wanted, fence=Fence(forbids=True))
    (after,) = (await labels.labelled([image.image_id])).values()
    assert wanted.lacking_in(after.labels)


async def labels_of_a_missing_image_are_refused(site: Site) -> None:
    with pytest.raises(NotFoundError):
        await site.cloud.image.labels.set_labels(
            MISSING, Labels(properties={"team": "storage"}), fence=Fence()
        )


# The cloud itself ----------------------------------------------------------------------------------------


async def its_clock_goes_on(site: Site) -> None:
    before_s = site.cloud.server_now_s()
    await asyncio.sleep(2.0)
    assert site.cloud.server_now_s() - before_s == pytest.approx(2.0, abs=1.1)


async def it_has_a_dialect_a_rate_and_perhaps_an_identity(site: Site) -> None:
    assert site.cloud.dialect in DIALECTS.values()
    assert site.cloud.requests_per_second >= 0
    assert site.cloud.identity is None or str(site.cloud.identity)


NEEDS_SERVERS: Sequence[Case] = (
    a_volume_in_use_is_refused_without_force,
    servers_are_read_together_and_alone,
    a_volume_names_its_server,
    a_missing_server_is_told_as_such_by_its_id,
    a_server_is_stopped_and_started_again,
    servers_are_stopped_and_started_together,
    a_missing_server_does_not_keep_another_from_stopping,
    an_order_that_was_carried_out_already_harms_nothing,
    servers_whose_stop_their_fence_forbids_run_on,
)
NEEDS_FAILURES: Sequence[Case] = (a_failed_export_leaves_a_free_volume_and_no_active_image,)
CASES: Sequence[Case] = [
    each
    for each in list(globals().values())
    if asyncio.iscoroutinefunction(each)
    and each.__module__ == __name__
    and each not in (*NEEDS_SERVERS, *NEEDS_FAILURES)
]
