"""IMS: the images as Huawei Cloud and its kin show them: all in `images`, finished ones in `cloudimages`."""

from __future__ import annotations

from itertools import islice

import msgspec
from aiohttp import web
from multidict import MultiDict

from batchexport.sandbox import image_data, images
from batchexport.sandbox.image_records import LISTABLE, image_record
from batchexport.sandbox.paging import link, read_limit
from batchexport.sandbox.responses import Refusal, json_reply
from batchexport.sandbox.state import STATE
from batchexport.sandbox.world import ImageView

GIB = 2**30
#: What IMS says of every image: its true size is elsewhere, and there is no checksum.
NO_SIZE = 0
MD5_OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e"
OS_TYPES = {"linux": "Linux", "windows": "Windows"}
#: Answered alike for all images of a project: they are its own, and registered once they are active.
OWN_FILTERS = {"__imagetype": "private", "__isregistered": "true"}
DEFAULT_CLOUDIMAGES = 500
QUOTA = {"quota": 100_000, "min": 0, "max": 100_000}  #: large enough to stop no run on the sandbox


def routes() -> list[web.RouteDef]:
    """The paths of IMS."""
    return [
        web.get("/ims/v2/images", list_images),
        web.get("/ims/v2/cloudimages", list_cloudimages),
        web.get("/ims/v2/images/{image_id}", get_image),
        web.get("/ims/v1/cloudimages/quota", get_quota),
        web.patch("/ims/v2/images/{image_id}", change_image),
        web.delete("/ims/v2/images/{image_id}", images.delete_image),
    ]


async def list_images(request: web.Request) -> web.Response:
    """A page of images, whatever their status."""
    return _page(request, "/v2/images", registered_only=False, default=images.DEFAULT_LIMIT)


async def list_cloudimages(request: web.Request) -> web.Response:
    """A page of those that are finished."""
    return _page(request, "/v2/cloudimages", registered_only=True, default=DEFAULT_CLOUDIMAGES)


async def get_image(request: web.Request) -> web.Response:
    """One image."""
    state, image_id = request.app[STATE], request.match_info["image_id"]
    view = state.world.image(image_id, state.now())
    if view is None:
        raise Refusal(404, f"No image found with ID {image_id}")
    return json_reply(ims_record(view))


async def change_image(request: web.Request) -> web.Response:
    """The image after a JSON patch: only its name, its description and properties of users can be changed."""
    changes = msgspec.json.decode(await request.read(), type=list[dict[str, object]])
    if refused := [each for each in changes if each.get("path") in ("/tags", "/visibility", "/protected")]:
        raise Refusal(403, f"Attribute {refused[0]['path']} can not be updated.")
    await image_data.change_image(request)
    return await get_image(request)


async def get_quota(request: web.Request) -> web.Response:
    """How many images the project may have, and has."""
    state = request.app[STATE]
    used = sum(1 for _ in state.world.images(state.now()))
    return json_reply({"quotas": {"resources": [{"type": "image", "used": used, **QUOTA}]}})


def ims_record(view: ImageView) -> dict[str, object]:
    """The image with what IMS adds, and without what it has not."""
    export, active = view.export, view.status == "active"
    record = image_record(view)
    for name in ("os_hash_algo", "os_hash_value", "os_hidden", "virtual_size"):
        del record[name]
    record |= {
        "size": NO_SIZE,
        "checksum": MD5_OF_NOTHING,
        "min_disk": export.size_gib,
        "virtual_env_type": "DataImage",
        "__imagetype": "gold" if export.owner else "private",
        "__isregistered": "true" if active else "false",
        "__os_type": OS_TYPES[export.os_type or "linux"],
    }
    if active:
        record["__image_size"] = str(int(export.size_gib * GIB * export.bytes_share))
    return record


def _page(request: web.Request, path: str, *, registered_only: bool, default: int) -> web.Response:
    state, query = request.app[STATE], MultiDict(request.query)
    limit = read_limit(query, default=default, maximum=state.settings.page_limit)
    _refuse_lists_of_values(query)
    wanted = all(query.pop(name, only) == only for name, only in OWN_FILTERS.items())
    views = (
        view
        for view in images.chosen_images(state.world, query, state.now())
        if wanted and (view.status == "active" or not registered_only)
    )
    page = list(islice(views, limit))
    body: dict[str, object] = {
        "images": [ims_record(view) for view in page],
        "first": link(path, request.query),
        "schema": "/v2/schemas/images",
    }
    if page and len(page) == limit:
        body["next"] = link(path, request.query, marker=page[-1].export.image_id)
    return json_reply(body)


def _refuse_lists_of_values(query: MultiDict[str]) -> None:
    for name, text in query.items():
        if name in LISTABLE and text.startswith("in:"):
            raise Refusal(400, f"The value of {name} is invalid.")
