"""The snapshots of block storage, as Cinder's v3 and v2 have them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from aiohttp import web

from batchexport.sandbox.item_requests import (
    has_metadata,
    metadata_filter,
    metadata_routes,
    over_quota,
    read_fields,
    read_metadata,
    read_text,
    removal_of,
)
from batchexport.sandbox.paging import NEWEST_FIRST, behind, in_order, read_limit, read_sort
from batchexport.sandbox.requests import Microversion, checked_microversion, next_link, refuse_unknown_filters
from batchexport.sandbox.responses import REQUEST_ID, Refusal, cinder_time, json_reply, new_request_id
from batchexport.sandbox.settings import PROJECT_ID, USER_ID
from batchexport.sandbox.state import STATE, SandboxState
from batchexport.sandbox.storage import Change, Creation, Item
from batchexport.sandbox.upload_request import FALSE_WORDS, TRUE_WORDS
from batchexport.sandbox.weather.conditions import SENT_BY

FIELDS = ("volume_id", "name", "description", "force", "metadata", "display_name", "display_description")
METADATA_FILTER_SINCE = (3, 22)  #: before, it is ignored
FORCE_NEEDLESS_SINCE = (3, 66)  #: from then on, volumes in use need no `force`, and false is refused
GROUPS_SINCE, USER_SINCE = (3, 14), (3, 41)
FORCE_INVALID = (
    "Since microversion 3.66 the 'force' flag is invalid for this request. For backward compatibility, "
    "however, when the 'force' flag is passed with a value evaluating to True, it is silently ignored."
)

#: What a list of snapshots can be asked for, and how to read it from a snapshot.
FILTERS: Mapping[str, Callable[[Item], str | None]] = {
    "name": lambda item: item.name,
    "status": lambda item: item.status,
    "volume_id": lambda item: _made(item).volume_id,
}
SORT_KEYS: Mapping[str, Callable[[Item], str | float]] = {
    "id": lambda item: _made(item).item_id,
    "name": lambda item: item.name or "",
    "status": lambda item: item.status or "",
    "created_at": lambda item: _made(item).accepted_at,
    "updated_at": lambda item: item.updated_at or 0.0,
}


def routes(project: str = "/volume/{version:v2|v3}/{project_id}") -> list[web.RouteDef]:
    """The paths of the snapshots of a project."""
    one = f"{project}/snapshots/{{snapshot_id}}"
    return [
        web.post(f"{project}/snapshots", create_snapshot),
        web.get(f"{project}/snapshots", list_snapshots),
        web.get(f"{project}/snapshots/detail", list_snapshots),
        web.get(one, get_snapshot),
        web.put(one, update_snapshot),
        web.delete(one, delete_snapshot),
        *metadata_routes(one, found_snapshot),
    ]


async def create_snapshot(request: web.Request) -> web.Response:
    """202 and a snapshot that is being made."""
    microversion = checked_microversion(request)
    fields = read_fields(await request.read(), "snapshot", FIELDS)
    return new_snapshot(request, fields, microversion)


def new_snapshot(
    request: web.Request, fields: Mapping[str, object], microversion: Microversion
) -> web.Response:
    """The answer to a request for a snapshot with these fields."""
    name, metadata = read_text(fields, "name"), read_metadata(fields)
    description = read_text(fields, "description")
    state, now = request.app[STATE], request.app[STATE].now()
    volume_id = str(fields.get("volume_id"))
    view = state.world.volume(volume_id, now)
    if view is None:
        raise Refusal(404, f"Volume {volume_id} could not be found.")
    _refuse_by_status(volume_id, view.status, may_be_in_use=_is_forced(fields, microversion))
    size_gib = view.volume.size_gib
    if refusal := over_quota(state, now, snapshots=1, size_gib=size_gib):
        return refusal
    item_id = str(uuid.uuid4())
    weather = state.conditions.weather
    creation = Creation(
        kind="snapshot",
        item_id=item_id,
        name=name,
        description=description,
        size_gib=size_gib,
        metadata=metadata,
        volume_id=volume_id,
        image_metadata=view.item.image_metadata,
        accepted_at=now,
        ready_at=now + state.settings.snapshot_s * state.settings.time_scale,
        fails=state.conditions.strikes("failed_snapshot", weather.failed_snapshot, volume_id, item_id),
        request_id=new_request_id(),
        made_by=SENT_BY.get(),
    )
    state.record(creation)
    record = snapshot_record(found(state, item_id, now), microversion, in_detail=False)
    body = {"snapshot": record | {"status": "creating"}}
    return json_reply(body, status=202, headers={REQUEST_ID: creation.request_id})


async def list_snapshots(request: web.Request) -> web.Response:
    """A page of snapshots, short or in detail by the end of the path."""
    microversion = checked_microversion(request)
    state, query, now = request.app[STATE], request.query, request.app[STATE].now()
    limit = read_limit(query, default=state.settings.page_limit, maximum=state.settings.page_limit)
    refuse_unknown_filters(query, {*FILTERS, "metadata"}, microversion)
    pairs: Mapping[str, str] = {}
    if "metadata" in query and microversion >= METADATA_FILTER_SINCE:
        pairs = metadata_filter(query["metadata"])
    filters = {name: text for name, text in query.items() if name in FILTERS}
    items = _behind_marker(state, request, now)
    chosen = (
        item
        for item in items
        if has_metadata(item, pairs) and all(FILTERS[name](item) == text for name, text in filters.items())
    )
    page = list(islice(chosen, limit))
    in_detail = request.path.endswith("/detail")
    records = [snapshot_record(item, microversion, in_detail=in_detail) for item in page]
    body: dict[str, object] = {"snapshots": records}
    if page and len(page) == limit:
        body["snapshots_links"] = [next_link(request, _made(page[-1]).item_id)]
    return json_reply(body)


async def get_snapshot(request: web.Request) -> web.Response:
    """One snapshot."""
    microversion = checked_microversion(request)
    _, item = found_snapshot(request)
    return json_reply({"snapshot": snapshot_record(item, microversion)})


async def update_snapshot(request: web.Request) -> web.Response:
    """The snapshot with another name or description."""
    microversion = checked_microversion(request)
    fields = read_fields(await request.read(), "snapshot", ("name", "description"))
    item_id, _ = found_snapshot(request)
    state = request.app[STATE]
    name, description = read_text(fields, "name"), read_text(fields, "description")
    state.record(Change(item_id=item_id, changed_at=state.now(), name=name, description=description))
    return json_reply({"snapshot": snapshot_record(found(state, item_id, state.now()), microversion)})


async def delete_snapshot(request: web.Request) -> web.Response:
    """202: the snapshot is being deleted, once no volume is being made of it any more."""
    checked_microversion(request)
    item_id, item = found_snapshot(request)
    state = request.app[STATE]
    if item.status not in ("available", "error"):
        words = "Snapshot status must be available or error and must not be part of a group."
        raise Refusal(400, f"Invalid snapshot: {words}")
    state.record(removal_of(state, item_id, now=state.now(), takes_s=state.settings.removal_s))
    return web.Response(status=202)


def found_snapshot(request: web.Request) -> tuple[str, Item]:
    """The snapshot that a path names, and its id."""
    checked_microversion(request)
    state, item_id = request.app[STATE], request.match_info["snapshot_id"]
    return item_id, found(state, item_id, state.now())


def found(state: SandboxState, item_id: str, now: float) -> Item:
    """The snapshot of this id."""
    item = state.world.storage.item(item_id, now)
    if item is None or item.creation is None or item.creation.kind != "snapshot":
        raise Refusal(404, f"Snapshot {item_id} could not be found.")
    return item


def snapshot_record(item: Item, microversion: Microversion, *, in_detail: bool = True) -> dict[str, object]:
    """A snapshot as Cinder shows it."""
    creation = _made(item)
    record: dict[str, object] = {
        "id": creation.item_id,
        "created_at": cinder_time(creation.accepted_at),
        "updated_at": cinder_time(item.updated_at),
        "name": item.name,
        "description": item.description,
        "volume_id": creation.volume_id,
        "status": item.status,
        "size": creation.size_gib,
        "metadata": item.metadata,
    }
    if in_detail:
        progress = "100%" if item.status in ("available", "deleting", "error_deleting") else "0%"
        record["os-extended-snapshot-attributes:progress"] = progress
        record["os-extended-snapshot-attributes:project_id"] = PROJECT_ID
        if microversion >= GROUPS_SINCE:
            record["group_snapshot_id"] = None
        if microversion >= USER_SINCE:
            record["user_id"] = USER_ID
    return record


def _behind_marker(state: SandboxState, request: web.Request, now: float) -> Iterator[Item]:
    sorts = read_sort(
        request.query, keys=SORT_KEYS, bad_key=lambda key: "Invalid input received: Invalid sort key"
    )
    items = state.world.storage.snapshots(now)
    if sorts != NEWEST_FIRST:
        items = iter(in_order(items, sorts, value=lambda item, key: SORT_KEYS[key](item)))
    if (marker := request.query.get("marker")) is None:
        return items
    found(state, marker, now)
    return behind(items, lambda item: _made(item).item_id == marker)


def _is_forced(fields: Mapping[str, object], microversion: Microversion) -> bool:
    force = fields.get("force", False)
    if force not in TRUE_WORDS + FALSE_WORDS:
        raise Refusal(400, f"Invalid input for field/attribute force. Value: {force}.")
    if microversion < FORCE_NEEDLESS_SINCE:
        return force in TRUE_WORDS
    if "force" in fields and force not in TRUE_WORDS:
        raise Refusal(400, FORCE_INVALID)
    return True


def _refuse_by_status(volume_id: str, status: str, *, may_be_in_use: bool) -> None:
    allowed = ("available", "in-use") if may_be_in_use else ("available",)
    if status not in allowed:
        words = f"status must be {', '.join(allowed)}, but current status is: {status}."
        raise Refusal(400, f"Invalid volume: Volume {volume_id} {words}")


def _made(item: Item) -> Creation:
    assert item.creation is not None
    return item.creation
