"""Volumes that clients create, change and delete: from a snapshot, as a clone, or empty."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import msgspec
from aiohttp import web

from batchexport.sandbox.image_records import GIB, image_record
from batchexport.sandbox.item_requests import (
    metadata_routes,
    over_quota,
    read_fields,
    read_metadata,
    read_text,
    removal_of,
)
from batchexport.sandbox.requests import api_url, checked_microversion
from batchexport.sandbox.responses import REQUEST_ID, Refusal, json_reply, new_request_id
from batchexport.sandbox.snapshots import found as found_snapshot
from batchexport.sandbox.state import STATE, SandboxState
from batchexport.sandbox.storage import Change, Creation, Item
from batchexport.sandbox.volume_records import VOLUME_TYPE, full_record
from batchexport.sandbox.weather.conditions import SENT_BY
from batchexport.sandbox.world import VolumeView

FIELDS = (
    "name",
    "description",
    "size",
    "volume_type",
    "availability_zone",
    "metadata",
    "snapshot_id",
    "source_volid",
    # Known, and of no consequence here: clients send them, most of them null.
    "display_name",
    "display_description",
    "source_replica",
    "imageRef",
    "image_id",
    "consistencygroup_id",
    "group_id",
    "backup_id",
    "multiattach",
)
NOT_DELETABLE = (
    "Invalid volume: Volume status must be available or error or error_restoring or error_extending or "
    "error_managing and must not be migrating, attached, belong to a group, have snapshots, awaiting a "
    "transfer, or be disassociated from snapshots after volume transfer."
)


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What a volume is made of."""

    size_gib: int
    image_metadata: Mapping[str, str] = {}
    snapshot_id: str | None = None
    volume_id: str | None = None
    image_id: str | None = None


def routes(project: str = "/volume/{version:v2|v3}/{project_id}") -> list[web.RouteDef]:
    """The paths of volumes that change something, exports left out."""
    one = f"{project}/volumes/{{volume_id}}"
    return [
        web.post(f"{project}/volumes", create_volume),
        web.put(one, update_volume),
        web.delete(one, delete_volume),
        *metadata_routes(one, _unlocked_volume),
    ]


async def create_volume(request: web.Request) -> web.Response:
    """202 and a volume that is being made."""
    checked_microversion(request)
    return new_volume(request, read_fields(await request.read(), "volume", FIELDS))


def new_volume(request: web.Request, fields: Mapping[str, object]) -> web.Response:
    """The answer to a request for a volume with these fields."""
    name, metadata = read_text(fields, "name"), read_metadata(fields)
    description = read_text(fields, "description")
    state, now = request.app[STATE], request.app[STATE].now()
    source, size_gib = _source(state, fields, now), _size_gib(fields)
    if size_gib is None and source.image_id is None:
        size_gib = source.size_gib
    if not size_gib:
        raise Refusal(400, "Invalid input received: Volume size must be an integer greater than 0.")
    if size_gib < source.size_gib:
        if source.image_id is not None:
            words = f"Image virtual size is {source.size_gib}GB and doesn't fit in a volume of size"
            raise Refusal(400, f"Image {source.image_id} is unacceptable: {words} {size_gib}GB.")
        what = "snapshot" if source.snapshot_id else "original volume"
        words = f"Volume size '{size_gib}'GB cannot be smaller than the {what} size {source.size_gib}GB."
        raise Refusal(400, f"Invalid input received: {words} They must be >= {what} size.")
    if (wanted := fields.get("volume_type")) not in (None, "", VOLUME_TYPE["name"], VOLUME_TYPE["id"]):
        words = "requested type is not compatible; recommend omitting the type argument"
        raise Refusal(400, f"Invalid volume_type provided: {wanted} ({words}).")
    if refusal := over_quota(state, now, volumes=1, size_gib=size_gib):
        return refusal
    creation = _creation(state, source, size_gib, now)
    creation = msgspec.structs.replace(creation, name=name, description=description, metadata=metadata)
    state.record(creation)
    record = full_record(found_volume(state, creation.item_id, now), api_url(request))
    body = {"volume": record | {"status": "creating"}}
    return json_reply(body, status=202, headers={REQUEST_ID: creation.request_id})


async def update_volume(request: web.Request) -> web.Response:
    """The volume with another name or description."""
    checked_microversion(request)
    fields = read_fields(await request.read(), "volume", ("name", "description", "metadata"))
    state, volume_id = request.app[STATE], request.match_info["volume_id"]
    found_volume(state, volume_id, state.now())
    change = Change(
        item_id=volume_id,
        changed_at=state.now(),
        name=read_text(fields, "name"),
        description=read_text(fields, "description"),
        metadata=read_metadata(fields) if fields.get("metadata") is not None else None,
    )
    state.record(change)
    return json_reply({"volume": full_record(found_volume(state, volume_id, state.now()), api_url(request))})


async def delete_volume(request: web.Request) -> web.Response:
    """202: the volume is being deleted, with `cascade` its snapshots as well."""
    checked_microversion(request)
    state, volume_id = request.app[STATE], request.match_info["volume_id"]
    now = state.now()
    view = found_volume(state, volume_id, now)
    snapshots = state.world.storage.snapshots_of(volume_id, now)
    cascade = request.query.get("cascade", "").lower() in ("true", "1", "yes", "on")
    if view.status not in ("available", "error") or (snapshots and not cascade):
        raise Refusal(400, NOT_DELETABLE)
    for item in snapshots:
        if item.creation is not None and item.status != "deleting":
            state.record(removal_of(state, item.creation.item_id, now=now, takes_s=state.settings.removal_s))
    state.record(removal_of(state, volume_id, now=now, takes_s=state.settings.removal_s))
    return web.Response(status=202)


def found_volume(state: SandboxState, volume_id: str, now: float) -> VolumeView:
    """The volume of this id."""
    view = state.world.volume(volume_id, now)
    if view is None:
        raise Refusal(404, f"Volume {volume_id} could not be found.")
    return view


def _unlocked_volume(request: web.Request) -> tuple[str, Item]:
    checked_microversion(request)
    state, volume_id = request.app[STATE], request.match_info["volume_id"]
    view = found_volume(state, volume_id, state.now())
    if view.status == "uploading" and request.method != "GET":
        raise Refusal(400, f"Invalid volume: Volume {volume_id} status must be available or in-use.")
    return volume_id, view.item


def _source(state: SandboxState, fields: Mapping[str, object], now: float) -> Source:
    if snapshot_id := fields.get("snapshot_id"):
        item = found_snapshot(state, str(snapshot_id), now)
        if item.status != "available":
            words = "Originating snapshot status must be one of 'available' values"
            raise Refusal(400, f"Invalid snapshot: {words}")
        assert item.creation is not None
        return Source(
            size_gib=item.creation.size_gib,
            image_metadata=item.image_metadata,
            snapshot_id=item.creation.item_id,
        )
    if volume_id := fields.get("source_volid"):
        view = found_volume(state, str(volume_id), now)
        if view.status not in ("available", "in-use"):
            words = "Originating source volume status must be one of 'available, in-use' values"
            raise Refusal(400, f"Invalid volume: {words}")
        return Source(
            size_gib=view.volume.size_gib,
            image_metadata=view.item.image_metadata,
            volume_id=str(volume_id),
        )
    if image_id := fields.get("imageRef") or fields.get("image_id"):
        return _image_source(state, str(image_id), now)
    return Source(size_gib=0)


def _image_source(state: SandboxState, image_id: str, now: float) -> Source:
    view = state.world.image(image_id, now)
    if view is None:
        raise Refusal(400, "Invalid image identifier or unable to access requested image.")
    if view.status != "active":
        raise Refusal(400, f"Image {image_id} is not active.")
    record = image_record(view)
    size, min_disk = record["virtual_size"] or record["size"], record["min_disk"]
    assert isinstance(size, int)
    assert isinstance(min_disk, int)
    return Source(size_gib=max(-(-size // GIB), min_disk), image_id=image_id)


def _size_gib(fields: Mapping[str, object]) -> int | None:
    size = fields.get("size")
    if size is None:
        return None
    if isinstance(size, str) and size.isdecimal():
        size = int(size)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise Refusal(400, f"Invalid input for field/attribute size. Value: {size}.")
    return size


def _creation(state: SandboxState, source: Source, size_gib: int, now: float) -> Creation:
    settings, item_id = state.settings, str(uuid.uuid4())
    takes_s = settings.copy_s_per_gib * source.size_gib * settings.time_scale
    weather = state.conditions.weather
    return Creation(
        kind="volume",
        item_id=item_id,
        name=None,
        size_gib=size_gib,
        volume_id=source.volume_id,
        snapshot_id=source.snapshot_id,
        image_metadata=source.image_metadata,
        accepted_at=now,
        ready_at=now + takes_s,
        fails=state.conditions.strikes("failed_volume", weather.failed_volume, item_id),
        request_id=new_request_id(),
        made_by=SENT_BY.get(),
    )
