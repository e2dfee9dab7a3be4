"""EVS: volumes and snapshots as Huawei Cloud and its kin show them, where that is not as Cinder does."""

from __future__ import annotations

from aiohttp import web

from batchexport.sandbox import block_storage, item_requests, snapshots, volume_creation
from batchexport.sandbox.item_requests import metadata_routes, read_fields, read_text
from batchexport.sandbox.requests import checked_microversion
from batchexport.sandbox.responses import Refusal
from batchexport.sandbox.settings import PROJECT_ID
from batchexport.sandbox.state import STATE

LARGEST_PAGE = 1000
#: Of a snapshot; its scheduled backups begin their names with the prefix.
MAX_NAME, MAX_DESCRIPTION, RESERVED_PREFIX = 64, 85, "autobk_snapshot_"


def routes() -> list[web.RouteDef]:
    """The paths of EVS: those of Cinder's v2, and its own `cloudvolumes`, which say the same.

    They are below `/evs` and, as on a host of its own, without it: the vendor's clients know no other place.
    """
    projects = ("/evs/{version:v2}/{project_id}", "/{version:v2}/{project_id}")
    return [route for project in projects for route in _routes(project)]


def _routes(project: str) -> list[web.RouteDef]:
    return [
        web.get(f"{project}/volumes", list_volumes),
        web.get(f"{project}/volumes/detail", list_volumes),
        web.get(f"{project}/volumes/{{volume_id}}", get_volume),
        web.post(f"{project}/volumes/{{volume_id}}/action", post_action),
        web.get(f"{project}/cloudvolumes/detail", list_volumes),
        web.get(f"{project}/cloudvolumes/{{volume_id}}", get_volume),
        web.post(f"{project}/volumes", create_volume),
        web.delete(f"{project}/volumes/{{volume_id}}", volume_creation.delete_volume),
        web.delete(f"{project}/cloudvolumes/{{volume_id}}", volume_creation.delete_volume),
        web.get(f"{project}/limits", item_requests.get_limits),
        web.get(f"{project}/os-quota-sets/{{quota_project_id}}", item_requests.get_quota_set),
        *(route for name in ("snapshots", "cloudsnapshots") for route in _snapshot_routes(project, name)),
    ]


def _snapshot_routes(project: str, name: str) -> list[web.RouteDef]:
    """The paths of snapshots: EVS has them under Cinder's name and under its own, and under v3 as well."""
    project = project.replace("version:v2", "version:v2|v3")
    one = f"{project}/{name}/{{snapshot_id}}"
    return [
        web.post(f"{project}/{name}", create_snapshot),
        web.get(f"{project}/{name}", snapshots.list_snapshots),
        web.get(f"{project}/{name}/detail", snapshots.list_snapshots),
        web.get(one, snapshots.get_snapshot),
        web.put(one, snapshots.update_snapshot),
        web.delete(one, snapshots.delete_snapshot),
        *metadata_routes(one, snapshots.found_snapshot),
    ]


async def list_volumes(request: web.Request) -> web.Response:
    """A page of volumes. A limit that Cinder would cut is refused."""
    _refuse_other_projects(request)
    limit = request.query.get("limit", "1")
    if not limit.isdecimal() or not 1 <= int(limit) <= LARGEST_PAGE:
        raise Refusal(400, "The limit must be an integer from 1 to 1000.", code="EVS.1023")
    return await block_storage.list_volumes(request)


async def get_volume(request: web.Request) -> web.Response:
    """One volume."""
    _refuse_other_projects(request)
    return await block_storage.get_volume(request)


async def post_action(request: web.Request) -> web.Response:
    """202 and the id of a new image. A refusal for the volume's status does not say which status it has."""
    _refuse_other_projects(request)
    _refuse_running_servers(request)
    try:
        return await block_storage.post_action(request)
    except Refusal as refusal:
        if "status must be" in refusal.message:
            raise Refusal(400, "Must specify a valid status.") from refusal
        raise


async def create_snapshot(request: web.Request) -> web.Response:
    """202 and a snapshot that is being made. Its name and description are shorter than Cinder's."""
    microversion = checked_microversion(request)
    fields = read_fields(await request.read(), "snapshot", snapshots.FIELDS)
    name = read_text(fields, "name", max_length=MAX_NAME) or ""
    read_text(fields, "description", max_length=MAX_DESCRIPTION)
    if name.startswith(RESERVED_PREFIX):
        raise Refusal(400, f"The snapshot name must not begin with {RESERVED_PREFIX}.", code="EVS.1029")
    return snapshots.new_snapshot(request, fields, microversion)


async def create_volume(request: web.Request) -> web.Response:
    """202 and a volume that is being made, of a snapshot or empty: EVS offers no clones."""
    checked_microversion(request)
    fields = read_fields(await request.read(), "volume", volume_creation.FIELDS)
    if fields.get("source_volid") is not None:
        raise Refusal(400, "Creating a disk from another disk is not supported.", code="EVS.1023")
    if not fields.get("availability_zone"):
        raise Refusal(400, "The availability_zone must be given.", code="EVS.1023")
    return volume_creation.new_volume(request, fields)


def _refuse_running_servers(request: web.Request) -> None:
    state, now = request.app[STATE], request.app[STATE].now()
    view = state.world.volume(request.match_info["volume_id"], now)
    if view is None or not state.settings.stopped_servers_only:
        return
    servers = [state.world.servers.server(server_id, now) for server_id in view.server_ids]
    if any(server is not None and server.status != "SHUTOFF" for server in servers):
        raise Refusal(400, "The server of the disk is not stopped.", code="IMG.0008")


def _refuse_other_projects(request: web.Request) -> None:
    if request.match_info["project_id"] != PROJECT_ID:
        raise Refusal(400, "The project id in the URL is not that of the credentials.", code="EVS.0001")
