"""The projects that images are shared with."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from batchexport.sandbox.image_records import found_image
from batchexport.sandbox.item_requests import read_body
from batchexport.sandbox.responses import Refusal, glance_time, json_reply
from batchexport.sandbox.settings import PROJECT_ID
from batchexport.sandbox.state import SandboxState
from batchexport.sandbox.world import ImageChange, ImageView

MAX_MEMBERS = 128


def routes() -> list[web.RouteDef]:
    """The paths of the image service that are about members."""
    members = "/image/v2/images/{image_id}/members"
    return [
        web.get(members, list_members),
        web.post(members, add_member),
        web.put(f"{members}/{{member_id}}", update_member),
        web.delete(f"{members}/{{member_id}}", delete_member),
    ]


async def list_members(request: web.Request) -> web.Response:
    """With whom the image is shared."""
    _, view = found_image(request)
    members = [_member(view, name, status) for name, status in view.export.members.items()]
    return json_reply({"members": members, "schema": "/v2/schemas/members"})


async def add_member(request: web.Request) -> web.Response:
    """Share the image. Nothing checks that there is such a project."""
    member = read_body(await request.read()).get("member")
    state, view = found_image(request)
    image_id, members = view.export.image_id, view.export.members
    if not isinstance(member, str) or not member:
        raise Refusal(400, "Member to be added not specified")
    if view.export.visibility != "shared":
        raise Refusal(403, f"Not allowed to create members for image {image_id}.")
    if member in members:
        raise Refusal(409, f"Member {member} is duplicated for image {image_id}")
    if len(members) >= MAX_MEMBERS:
        raise Refusal(413, f"Image member limit exceeded for image {image_id}")
    _set_members(state, view, {**members, member: "pending"})
    return json_reply(_member(view, member, "pending"))


async def update_member(request: web.Request) -> web.Response:
    """Only the project itself accepts."""
    status = read_body(await request.read()).get("status")
    state, view = found_image(request)
    member = request.match_info["member_id"]
    if member not in view.export.members:
        raise Refusal(404, f"{member} not found in the member list of the image {view.export.image_id}.")
    if member != PROJECT_ID:
        raise Refusal(403, f"Not allowed to update member {member} of image {view.export.image_id}.")
    if status not in ("accepted", "rejected", "pending"):
        raise Refusal(400, "Incorrect request")
    _set_members(state, view, {**view.export.members, member: status})
    return json_reply(_member(view, member, status))


async def delete_member(request: web.Request) -> web.Response:
    """204: no longer shared with it."""
    state, view = found_image(request)
    member = request.match_info["member_id"]
    if member not in view.export.members:
        raise Refusal(404, f"{member} not found in the member list of the image {view.export.image_id}.")
    _set_members(state, view, {name: each for name, each in view.export.members.items() if name != member})
    return web.Response(status=204)


def _set_members(state: SandboxState, view: ImageView, members: Mapping[str, str]) -> None:
    state.record(ImageChange(image_id=view.export.image_id, changed_at=state.now(), members=members))


def _member(view: ImageView, member: str, status: str) -> dict[str, object]:
    moment = glance_time(view.updated_at)
    return {
        "member_id": member,
        "image_id": view.export.image_id,
        "status": status,
        "created_at": moment,
        "updated_at": moment,
        "schema": "/v2/schemas/member",
    }
