"""What requests to block storage and to compute have in common: project, address, links, actions."""

from __future__ import annotations

import msgspec
from aiohttp import web

from batchexport.sandbox.paging import link
from batchexport.sandbox.replies import Refusal
from batchexport.sandbox.settings import PROJECT_ID


def refuse_other_projects(request: web.Request) -> None:
    """Refuses a path that names another project than ours; one that names none is fine."""
    if request.match_info.get("project_id", PROJECT_ID) != PROJECT_ID:
        raise Refusal(400, "Malformed request url")


def next_link(request: web.Request, marker: str) -> dict[str, str]:
    """The link from a full page to the one behind `marker`."""
    path = f"{request.url.origin()}{request.path}"
    return {"rel": "next", "href": link(path, request.query, marker=marker)}


def api_url(request: web.Request) -> str:
    """The address of the version asked for, such as `http://…/volume/v3`."""
    version = request.match_info.get("version", "v3")
    before, _, _ = request.path.partition(f"/{version}")
    return f"{request.url.origin()}{before}/{version}"


def one_action(body: bytes) -> tuple[str, object]:
    """The name and the options of the one action that a body asks for."""
    try:
        actions = msgspec.json.decode(body)
    except msgspec.DecodeError:
        actions = None
    if not isinstance(actions, dict) or len(actions) != 1:
        raise Refusal(400, "Malformed request body")
    ((name, options),) = actions.items()
    return name, options
