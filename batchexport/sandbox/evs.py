"""EVS: the volumes under v2 as Huawei Cloud and its kin show them, where that is not as Cinder does."""

from __future__ import annotations

from aiohttp import web

from batchexport.sandbox import block_storage
from batchexport.sandbox.responses import Refusal
from batchexport.sandbox.settings import PROJECT_ID
from batchexport.sandbox.state import STATE

LARGEST_PAGE = 1000


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
