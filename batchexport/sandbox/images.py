"""The image service: what Glance's v2 tells of the images that exports have made."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from aiohttp import web
from multidict import MultiMapping

from batchexport.sandbox.image_records import (
    IMAGE_SCHEMA,
    IMAGES_SCHEMA,
    SORT_KEYS,
    image_record,
    read_filters,
)
from batchexport.sandbox.paging import behind, in_order, link, read_limit, read_sort
from batchexport.sandbox.responses import Refusal, json_reply
from batchexport.sandbox.state import STATE
from batchexport.sandbox.world import Deletion, ImageView, World

#: Glance's own: what a client gets that asks for no size of page.
DEFAULT_LIMIT = 25
VERSIONS = (17, 16, 15, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)


def routes() -> list[web.RouteDef]:
    """The paths of the image service."""
    return [
        web.get("/image", list_versions),
        web.get("/image/", list_versions),
        web.get("/image/versions", list_versions),
        web.get("/image/v2/images", list_images),
        web.get("/image/v2/images/{image_id}", get_image),
        web.delete("/image/v2/images/{image_id}", delete_image),
        web.get("/image/v2/schemas/image", get_schema),
        web.get("/image/v2/schemas/images", get_schema),
    ]


async def list_versions(request: web.Request) -> web.Response:
    """The minor versions of v2; the only thing told without a token."""
    links = [{"rel": "self", "href": f"{request.url.origin()}/image/v2/"}]
    versions = [
        {"id": f"v2.{minor}", "status": "CURRENT" if minor == VERSIONS[0] else "SUPPORTED", "links": links}
        for minor in VERSIONS
    ]
    return json_reply({"versions": versions}, status=200 if request.path.endswith("versions") else 300)


async def list_images(request: web.Request) -> web.Response:
    """A page of images."""
    state, query = request.app[STATE], request.query
    limit = read_limit(query, default=DEFAULT_LIMIT, maximum=state.settings.page_limit)
    page = list(islice(chosen_images(state.world, query, state.now()), limit))
    body: dict[str, object] = {
        "images": [image_record(view) for view in page],
        "first": link("/v2/images", query),
        "schema": "/v2/schemas/images",
    }
    if page and len(page) == limit:
        body["next"] = link("/v2/images", query, marker=page[-1].export.image_id)
    return json_reply(body)


async def get_image(request: web.Request) -> web.Response:
    """One image."""
    image_id = request.match_info["image_id"]
    state = request.app[STATE]
    view = state.world.image(image_id, state.now())
    if view is None:
        raise Refusal(404, f"No image found with ID {image_id}")
    return json_reply(image_record(view))


async def delete_image(request: web.Request) -> web.Response:
    """204: the image is gone, and with it the export if it was still under way."""
    image_id = request.match_info["image_id"]
    state = request.app[STATE]
    now = state.now()
    view = state.world.image(image_id, now)
    if view is None:
        raise Refusal(404, f"Failed to find image {image_id} to delete")
    if view.export.protected:
        raise Refusal(403, f"Image {image_id} is protected and cannot be deleted.")
    state.record(Deletion(image_id=image_id, deleted_at=now))
    return web.Response(status=204)


async def get_schema(request: web.Request) -> web.Response:
    """The schema of an image, or of a list of them."""
    return json_reply(IMAGES_SCHEMA if request.path.endswith("images") else IMAGE_SCHEMA)


def chosen_images(world: World, query: MultiMapping[str], now: float) -> Iterator[ImageView]:
    """The images that the query admits, in its order, from behind its marker."""
    admits = read_filters(query)
    sorts = read_sort(query, keys=SORT_KEYS, bad_key=_bad_sort_key)
    marker = query.get("marker")
    if marker is not None and world.image(marker, now) is None:
        raise Refusal(400, f"No image found with ID {marker}")
    if sorts[0].key == "created_at":  # the order in which the world keeps them: nothing to sort
        views = world.images(now, newest_first=sorts[0].descending, after=marker)
        return (view for view in views if admits(view))
    # The marker may have changed since the last page and no longer be admitted; it still marks its place.
    kept = (view for view in world.images(now) if view.export.image_id == marker or admits(view))
    ordered = iter(in_order(kept, sorts, value=lambda view, key: SORT_KEYS[key](view)))
    return ordered if marker is None else behind(ordered, lambda view: view.export.image_id == marker)


def _bad_sort_key(key: str) -> str:
    return f"Invalid sort key: {key}. It must be one of the following: {', '.join(SORT_KEYS)}."
