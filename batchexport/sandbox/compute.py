"""The compute service: servers as Nova's v2.1 tells of them, stops and starts them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from aiohttp import web

from batchexport.sandbox.identity import stable_id
from batchexport.sandbox.paging import behind, read_limit
from batchexport.sandbox.requests import api_url, next_link, one_action, refuse_other_projects
from batchexport.sandbox.responses import Refusal, glance_time, json_reply
from batchexport.sandbox.servers import Action, Power, ServerView, refusal_reason
from batchexport.sandbox.settings import PROJECT_ID, USER_ID, Profile, SandboxServer, SandboxSettings
from batchexport.sandbox.state import STATE, SandboxState
from batchexport.sandbox.volume_records import AVAILABILITY_ZONE, CREATED_AT

POWER_STATES = {"ACTIVE": 1, "SHUTOFF": 4}
MICROVERSION = "2.1"


def full_server(view: ServerView, url: str) -> dict[str, object]:
    """A server with everything that is known of it, as microversion 2.1 has it."""
    server = view.server
    return {
        **short_server(view, url),
        "status": view.status,
        "tenant_id": PROJECT_ID,
        "user_id": USER_ID,
        "metadata": {},
        "hostId": stable_id("host"),
        "image": "",
        "flavor": {"id": "1", "links": [{"rel": "bookmark", "href": f"{_root(url)}/flavors/1"}]},
        "created": glance_time(CREATED_AT),
        "updated": glance_time(view.updated_at or CREATED_AT),
        "addresses": {},
        "accessIPv4": "",
        "accessIPv6": "",
        "config_drive": "",
        "key_name": None,
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": AVAILABILITY_ZONE,
        "OS-EXT-STS:task_state": view.task,
        "OS-EXT-STS:vm_state": view.vm_state,
        "OS-EXT-STS:power_state": POWER_STATES.get(view.status, 0),
        "os-extended-volumes:volumes_attached": [{"id": volume_id} for volume_id in server.volume_ids],
    } | ({"progress": 0} if view.status == "ACTIVE" else {})


def short_server(view: ServerView, url: str) -> dict[str, object]:
    """A server of the short list. `url` is that of the API with its version, such as `…/compute/v2.1`."""
    server = view.server
    tail = f"servers/{server.server_id}"
    links = [{"rel": "self", "href": f"{url}/{tail}"}, {"rel": "bookmark", "href": f"{_root(url)}/{tail}"}]
    return {"id": server.server_id, "name": server.name, "links": links}


def compute_version(url: str) -> dict[str, object]:
    """What the compute service says of its one version, which is at `url`."""
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": MICROVERSION,
        "min_version": MICROVERSION,
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{url}/"}],
    }


def job_record(job_id: str, powers: Sequence[Power], now: float) -> dict[str, object]:
    """A batch and its parts at `now`. It has failed where one of them has."""
    parts = [_part(job_id, power, now) for power in powers]
    statuses = {str(part["status"]) for part in parts}
    status = "RUNNING" if "RUNNING" in statuses else "FAIL" if "FAIL" in statuses else "SUCCESS"
    return {
        **_job_head(job_id, powers[0].action, status, powers[0].accepted_at),
        "entities": {"sub_jobs_total": len(parts), "sub_jobs": parts},
        "error_code": "Ecs.0000" if status == "FAIL" else None,
        "fail_reason": "a sub-job failed" if status == "FAIL" else None,
    }


def _part(job_id: str, power: Power, now: float) -> dict[str, object]:
    status = "RUNNING" if now < power.done_at else "FAIL" if power.failure else "SUCCESS"
    failed = status == "FAIL"
    part_id = str(uuid.uuid5(uuid.UUID(job_id), power.server_id))
    return {
        **_job_head(part_id, power.action, status, power.accepted_at),
        "entities": {"server_id": power.server_id},
        "error_code": "Ecs.0100" if failed else None,
        "fail_reason": power.failure if failed else None,
    }


def _job_head(job_id: str, action: str, status: str, began_at: float) -> dict[str, object]:
    return {
        "job_id": job_id,
        "job_type": f"{action}Server",
        "status": status,
        "begin_time": glance_time(began_at),
    }


def _root(url: str) -> str:
    return url.rpartition("/v")[0]


ACTIONS: Mapping[str, Action] = {"os-stop": "stop", "os-start": "start"}
#: A guest that does not heed Nova's gentle stop is left so long before its power is cut.
PATIENCE_S = 60.0
DEAF = "The guest did not shut down in time."


def routes(root: str = "/compute") -> list[web.RouteDef]:
    """The paths of the compute service, with the project's id in them and without."""
    versions = [
        web.get(root, list_versions),
        web.get(f"{root}/", list_versions),
        web.get(f"{root}/{{version:v2.1}}", get_version),
        web.get(f"{root}/{{version:v2.1}}/", get_version),
    ]
    bases = (f"{root}/{{version:v2.1}}", f"{root}/{{version:v2.1}}/{{project_id:[0-9a-f]{{32}}}}")
    return versions + [route for base in bases for route in _routes(f"{base}/servers")]


def _routes(servers: str) -> list[web.RouteDef]:
    return [
        web.get(servers, list_servers),
        web.get(f"{servers}/detail", list_servers),
        web.get(f"{servers}/{{server_id}}", get_server),
        web.post(f"{servers}/{{server_id}}/action", act_on_server),
    ]


async def list_versions(request: web.Request) -> web.Response:
    """The one version; told without a token."""
    root = f"{request.url.origin()}{request.path.rstrip('/')}"
    return json_reply({"versions": [compute_version(f"{root}/v2.1")]})


async def get_version(request: web.Request) -> web.Response:
    """The one version."""
    return json_reply({"version": compute_version(api_url(request))})


async def list_servers(request: web.Request) -> web.Response:
    """A page of servers, short or in detail by the end of the path."""
    refuse_other_projects(request)
    state, query = request.app[STATE], request.query
    limit = read_limit(query, default=state.settings.page_limit, maximum=state.settings.page_limit)
    page = list(islice(_behind_marker(state, query), limit))
    record = full_server if request.path.endswith("/detail") else short_server
    url = api_url(request)
    body: dict[str, object] = {"servers": [record(view, url) for view in page]}
    if page and len(page) == limit:
        body["servers_links"] = [next_link(request, page[-1].server.server_id)]
    return json_reply(body)


async def get_server(request: web.Request) -> web.Response:
    """One server."""
    refuse_other_projects(request)
    return json_reply({"server": full_server(_found(request), api_url(request))})


async def act_on_server(request: web.Request) -> web.Response:
    """202 without a body; from then on, the server is stopping or starting."""
    refuse_other_projects(request)
    action, options = read_power_action(await request.read())
    # No await from here on: of two requests for one server, one sees the other's outcome.
    state, view = request.app[STATE], _found(request)
    if reason := refusal_reason(view, action):
        raise Refusal(409, reason)
    gentle = state.settings.profile is Profile.EVS and options.get("type", "SOFT") != "HARD"
    state.record(power_event(state.settings, view.server, action, gentle=gentle, now=state.now()))
    return web.Response(status=202)


def read_power_action(body: bytes) -> tuple[Action, Mapping[str, object]]:
    """The action and its options; anything but stop and start is refused."""
    name, options = one_action(body)
    if name not in ACTIONS:
        raise Refusal(400, f"There is no such action: {name}")
    return ACTIONS[name], options if isinstance(options, dict) else {}


def power_event(
    settings: SandboxSettings,
    server: SandboxServer,
    action: Action,
    *,
    gentle: bool,
    now: float,
    job_id: str | None = None,
) -> Power:
    """The request as accepted at `now`. `gentle` = a guest that does not heed is left running."""
    takes_s = settings.server_stop_s if action == "stop" else settings.server_start_s
    deaf = action == "stop" and server.deaf
    return Power(
        server_id=server.server_id,
        action=action,
        accepted_at=now,
        done_at=now + settings.time_scale * (takes_s + (PATIENCE_S if deaf else 0.0)),
        job_id=job_id,
        failure=DEAF if deaf and gentle else None,
    )


def _behind_marker(state: SandboxState, query: Mapping[str, str]) -> Iterator[ServerView]:
    views: Iterator[ServerView] = state.world.servers.servers(state.now())
    if (marker := query.get("marker")) is not None:
        if state.world.servers.server(marker, state.now()) is None:
            raise Refusal(400, f"marker [{marker}] not found")
        views = behind(views, lambda view: view.server.server_id == marker)
    status, name = query.get("status", ""), re.escape(query.get("name", "")).replace(r"\.\*", ".*")
    return (
        view
        for view in views
        if status.upper() in ("", view.status) and re.search(name, view.server.name) is not None
    )


def _found(request: web.Request) -> ServerView:
    state, server_id = request.app[STATE], request.match_info["server_id"]
    view = state.world.servers.server(server_id, state.now())
    if view is None:
        raise Refusal(404, f"Instance {server_id} could not be found.")
    return view
