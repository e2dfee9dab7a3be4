"""The block storage service: v3 as Cinder speaks it and v2 as EVS does, over the same volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from aiohttp import web

from batchexport.sandbox import image_metadata, item_requests, snapshots, volume_creation
from batchexport.sandbox.image_records import GIB
from batchexport.sandbox.item_requests import has_metadata, metadata_filter
from batchexport.sandbox.outcome import export_outcome
from batchexport.sandbox.paging import NEWEST_FIRST, behind, in_order, read_limit, read_sort
from batchexport.sandbox.requests import (
    OTHER_ACTION,
    api_url,
    checked_microversion,
    next_link,
    refuse_unknown_filters,
)
from batchexport.sandbox.responses import REQUEST_ID, Refusal, json_reply, new_request_id
from batchexport.sandbox.settings import Profile
from batchexport.sandbox.state import STATE, SandboxState
from batchexport.sandbox.upload_request import (
    ACTION,
    UploadRequest,
    cinder_request,
    evs_request,
    glance_container_refusal,
    read_action,
)
from batchexport.sandbox.volume_creation import found_volume
from batchexport.sandbox.volume_records import (
    AVAILABILITY_ZONE,
    CREATED_AT,
    accepted_record,
    full_record,
    short_record,
    version_record,
)
from batchexport.sandbox.weather.conditions import SENT_BY
from batchexport.sandbox.world import Export, VolumeView

#: What a list of volumes can be asked for, and how to read it from a volume.
VOLUME_FILTERS: Mapping[str, Callable[[VolumeView], str]] = {
    "name": lambda view: view.volume.name,
    "status": lambda view: view.status,
    "size": lambda view: str(view.volume.size_gib),
    "bootable": lambda view: "false",
    "availability_zone": lambda view: AVAILABILITY_ZONE,
}
VOLUME_SORT_KEYS: Mapping[str, Callable[[VolumeView], str | float]] = {
    "id": lambda view: view.volume.volume_id,
    "name": lambda view: view.volume.name,
    "size": lambda view: view.volume.size_gib,
    "status": lambda view: view.status,
    "created_at": lambda view: view.item.creation.accepted_at if view.item.creation else CREATED_AT,
    "updated_at": lambda view: view.updated_at or 0.0,
}


def routes() -> list[web.RouteDef]:
    """The paths of the block storage service."""
    volumes = "/volume/{version:v2|v3}/{project_id}/volumes"
    return [
        web.get("/volume", list_versions),
        web.get("/volume/", list_versions),
        web.get("/volume/{version:v2|v3}", get_version),
        web.get("/volume/{version:v2|v3}/", get_version),
        web.get(volumes, list_volumes),
        web.get(f"{volumes}/detail", list_volumes),
        web.get(f"{volumes}/{{volume_id}}", get_volume),
        web.post(f"{volumes}/{{volume_id}}/action", post_action),
        *volume_creation.routes(),
        *snapshots.routes(),
        web.get("/volume/{version:v2|v3}/{project_id}/limits", item_requests.get_limits),
        web.get(
            "/volume/{version:v2|v3}/{project_id}/os-quota-sets/{quota_project_id}",
            item_requests.get_quota_set,
        ),
    ]


async def list_versions(request: web.Request) -> web.Response:
    """The two versions; the only thing told without a token."""
    url = str(request.url.origin())
    versions = [version_record(name, f"{url}/volume/{name}") for name in ("v2", "v3")]
    return json_reply({"versions": versions}, status=300)


async def get_version(request: web.Request) -> web.Response:
    """The version asked for."""
    return json_reply({"versions": [version_record(request.match_info["version"], api_url(request))]})


async def list_volumes(request: web.Request) -> web.Response:
    """A page of volumes, short or in detail by the end of the path."""
    microversion = checked_microversion(request)
    state, query, now = request.app[STATE], request.query, request.app[STATE].now()
    limit = read_limit(query, default=state.settings.page_limit, maximum=state.settings.page_limit)
    refuse_unknown_filters(query, {*VOLUME_FILTERS, "metadata"}, microversion)
    pairs = metadata_filter(query["metadata"]) if "metadata" in query else {}
    filters = {name: text for name, text in query.items() if name in VOLUME_FILTERS}
    views = _volumes_behind_marker(state, request, now)
    chosen = (view for view in views if has_metadata(view.item, pairs) and _matches(view, filters))
    page = list(islice(chosen, limit))
    record = full_record if request.path.endswith("/detail") else short_record
    url = api_url(request)
    body: dict[str, object] = {"volumes": [record(view, url) for view in page]}
    if page and len(page) == limit:
        body["volumes_links"] = [next_link(request, page[-1].volume.volume_id)]
    return json_reply(body)


async def get_volume(request: web.Request) -> web.Response:
    """One volume."""
    checked_microversion(request)
    state = request.app[STATE]
    view = found_volume(state, request.match_info["volume_id"], state.now())
    return json_reply({"volume": full_record(view, api_url(request))})


async def post_action(request: web.Request) -> web.Response:
    """202 and the id of a new image; from here on, the export takes its course."""
    microversion = checked_microversion(request)
    if (answer := await image_metadata.act(request)) is not None:
        OTHER_ACTION.set(True)
        return answer
    options = read_action(await request.read())
    evs = request.match_info["version"] == "v2"
    asked = evs_request(options) if evs else cinder_request(options, microversion)
    # No await from here on: between two requests for one volume, one of them sees the other's outcome.
    state = request.app[STATE]
    now = state.now()
    before = found_volume(state, request.match_info["volume_id"], now)
    honours_force = state.settings.force_upload or state.settings.profile is Profile.EVS
    _refuse_by_status(before, asked, force_upload=honours_force)
    if refusal := glance_container_refusal(asked.container_format):
        raise refusal
    export = _new_export(state, before, asked, request_id=new_request_id(), now=now)
    state.record(export)
    body = {ACTION: accepted_record(before, export, evs=evs)}
    return json_reply(body, status=202, headers={REQUEST_ID: export.request_id})


def _volumes_behind_marker(state: SandboxState, request: web.Request, now: float) -> Iterator[VolumeView]:
    sorts = read_sort(
        request.query,
        keys=VOLUME_SORT_KEYS,
        bad_key=lambda key: "Invalid input received: Invalid sort key",
    )
    views: Iterator[VolumeView] = state.world.volumes(now)
    if sorts != NEWEST_FIRST:
        views = iter(in_order(views, sorts, value=lambda view, key: VOLUME_SORT_KEYS[key](view)))
    marker = request.query.get("marker")
    if marker is None:
        return views
    found_volume(state, marker, now)
    return behind(views, lambda view: view.volume.volume_id == marker)


def _matches(view: VolumeView, filters: Mapping[str, str]) -> bool:
    return all(VOLUME_FILTERS[name](view) == text for name, text in filters.items())


def _refuse_by_status(before: VolumeView, asked: UploadRequest, *, force_upload: bool) -> None:
    """Refuses a volume that cannot be exported now.

    Where `force` is not allowed it is ignored, and the refusal reads as without it.
    """
    forced = asked.force and force_upload
    if before.status == "available" or (forced and before.status == "in-use"):
        return
    wanted = "available or in-use" if forced else "available"
    raise Refusal(400, f"Invalid volume: Volume {before.volume.volume_id} status must be {wanted}")


def _new_export(
    state: SandboxState, before: VolumeView, asked: UploadRequest, *, request_id: str, now: float
) -> Export:
    volume, metadata = before.volume, before.item.image_metadata
    is_taken = state.world.was_taken(metadata.get("id", ""))
    outcome = export_outcome(
        state.settings,
        volume_id=volume.volume_id,
        size_gib=volume.size_gib,
        disk_format=asked.disk_format,
        earlier=state.world.exports_of(volume.volume_id),
        now=now,
    )
    return Export(
        volume_id=volume.volume_id,
        volume_name=volume.name,
        size_gib=volume.size_gib,
        status_before=before.status,
        image_id=image_metadata.image_id_from(metadata, is_taken=is_taken),
        properties=image_metadata.properties_from(metadata),
        image_name=asked.image_name,
        disk_format=asked.disk_format,
        container_format=asked.container_format,
        visibility=asked.visibility,
        protected=asked.protected,
        os_type=asked.os_type,
        request_id=request_id,
        accepted_at=now,
        saving_at=outcome.saving_at,
        ends_at=outcome.ends_at,
        free_at=outcome.free_at,
        fails=outcome.fails,
        made_by=SENT_BY.get(),
        finishing_at=outcome.finishing_at,
        finishing_status=state.settings.weather.late.status if state.settings.weather.late else "importing",
        hidden_from=outcome.hidden_from,
        hidden_until=outcome.hidden_until,
        bytes_share=outcome.bytes_share,
        bytes_per_gib=_bytes_per_gib(state, asked.disk_format),
    )


def _bytes_per_gib(state: SandboxState, disk_format: str) -> int:
    """What the image's file has for each GiB; a raw one has every byte, or holds no data."""
    wanted = state.settings.image_bytes_per_gib
    return wanted if disk_format != "raw" or wanted == GIB else 0
