"""What becomes of a response on its way back: records missing, bodies swapped, repeated, compressed."""

from __future__ import annotations

import asyncio
import gzip
import uuid
from typing import Any

from aiohttp import web

from batchexport.sandbox.responses import Refusal, glance_time
from batchexport.sandbox.weather.conditions import MAX_CACHED, Accepted, Asked, Cached, Conditions
from batchexport.sandbox.weather.settings import Cell, Stale, Swapped

ACCEPTED = 202


def body_of(response: web.StreamResponse) -> bytes | None:
    """The body of an ordinary answer."""
    body = response.body if isinstance(response, web.Response) else None
    return body if isinstance(body, bytes) else None


def break_off(request: web.Request) -> web.Response:
    """Close the connection instead of an answer."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


async def of_another(conditions: Conditions, asked: Asked, response: web.Response) -> None:
    """Give an accepted export the answer to another one, where it is drawn to get that."""
    weather, body = conditions.weather, body_of(response)
    if body is None or response.status != ACCEPTED:
        return
    earlier = conditions.last_accepted
    conditions.last_accepted = body
    if earlier is not None and conditions.hits("repeated", weather.repeated, asked):
        response.body = earlier
    elif weather.swapped is not None:
        await _swap(conditions, weather.swapped, asked, response, body)


def dress(conditions: Conditions, asked: Asked, response: web.Response) -> None:
    """Compress an answer and lengthen its headers, where it is drawn."""
    weather, body = conditions.weather, body_of(response)
    if weather.long_headers is not None and conditions.hits("long_headers", weather.long_headers, asked):
        response.headers["X-Policy-Trace"] = "a" * weather.long_headers.size
    if body and conditions.hits("gzip", weather.gzip, asked):
        response.body = gzip.compress(body)
        response.headers["Content-Encoding"] = "gzip"


def remember(conditions: Conditions, asked: Asked, response: web.StreamResponse, now: float) -> None:
    """Keep a good answer to a read for the cache."""
    body = body_of(response)
    if conditions.weather.stale is None or not asked.is_read or response.status != 200 or body is None:
        return
    conditions.cache[asked.path] = Cached(body=body, content_type=response.content_type, at=now)
    conditions.cache.move_to_end(asked.path)
    while len(conditions.cache) > MAX_CACHED:
        conditions.cache.popitem(last=False)


def repeated_read(conditions: Conditions, asked: Asked, now: float) -> web.Response | None:
    """An earlier answer to the same read, where the cache is drawn to give it."""
    stale: Stale | None = conditions.weather.stale
    cached = conditions.cache.get(asked.path)
    if stale is None or cached is None or not asked.is_read or now - cached.at > stale.seconds:
        return None
    if not conditions.hits("stale", stale, asked):
        return None
    return web.Response(body=cached.body, content_type=cached.content_type)


async def _swap(
    conditions: Conditions, swapped: Swapped, asked: Asked, response: web.Response, body: bytes
) -> None:
    if (waiting := conditions.to_swap) is not None and not waiting.other.done():
        conditions.to_swap = None
        waiting.other.set_result(body)
        response.body = waiting.body
        conditions.count("swapped")
        return
    if conditions.pseudo_random("swapped", asked.path, asked.number) >= swapped.share:
        return
    mine = Accepted(body=body, other=asyncio.get_running_loop().create_future())
    conditions.to_swap = mine
    try:
        response.body = await asyncio.wait_for(mine.other, swapped.within_s)
    except TimeoutError:
        if conditions.to_swap is mine:
            conditions.to_swap = None


COLLECTIONS = ("volumes", "images", "servers", "snapshots")
LINKS = ("next", "volumes_links", "servers_links", "snapshots_links")
ODD_ID = str(uuid.uuid5(uuid.NAMESPACE_URL, "an image with odd values"))
#: Filters under which a list holds none but the images asked for.
NARROW = ("name=", "id=", "owner=", "marker=", "status=queued", "status=saving", "status=killed", "tag=")


def refuse_away(conditions: Conditions, asked: Asked, now: float) -> None:
    """Refuses to speak of a server whose cell is away, as Nova does by id."""
    if asked.service == "compute" and asked.subject and _is_away(conditions, asked.subject, now):
        conditions.count("cell")
        raise Refusal(500, "Unexpected API Error. <class 'nova.exception.InstanceNotFound'>")


def seen(conditions: Conditions, asked: Asked, body: dict[str, Any], now: float) -> None:
    """Turn the true body of a list into the one that is seen."""
    weather = conditions.weather
    for name in COLLECTIONS:
        records = body.get(name)
        if not isinstance(records, list):
            continue
        if name == "servers":
            records = [each for each in records if not _left_out(conditions, each["id"], now)]
        if weather.missing is not None and asked.service in weather.missing.services:
            records = [each for each in records if not _overlooked(conditions, asked, each["id"])]
        body[name] = records
    if weather.capped_lists is not None and conditions.hits("capped_lists", weather.capped_lists, asked):
        _cap(body, weather.capped_lists.records)
    is_wide = "images" in body and not any(filter_ in asked.path for filter_ in NARROW)
    if is_wide and conditions.hits("odd_image", weather.odd_image, asked):
        body["images"].insert(0, odd_image(now))


def odd_image(now: float) -> dict[str, object]:
    """An image of another project, moved here from elsewhere with properties of that place."""
    return {
        "id": ODD_ID,
        "name": "appliance-2019",
        "status": "active",
        "visibility": "public",
        "owner": uuid.uuid5(uuid.NAMESPACE_URL, "another project").hex,
        "disk_format": "qcow2",
        "container_format": "bare",
        "size": 5 * 2**30,
        "virtual_size": "None",
        "__image_size": "40 GB",
        "min_disk": 0,
        "min_ram": 0,
        "protected": "False",
        "tags": [],
        "checksum": None,
        "created_at": glance_time(now - 86_400.0),
        "updated_at": glance_time(now),
        "self": f"/v2/images/{ODD_ID}",
        "schema": "/v2/schemas/image",
    }


def _cap(body: dict[str, Any], most: int) -> None:
    for name in COLLECTIONS:
        if name in body:
            body[name] = body[name][:most]
    for name in LINKS:
        body.pop(name, None)


def _overlooked(conditions: Conditions, asked: Asked, record_id: str) -> bool:
    """Whether the record is missing from this list; it is then in the next one."""
    key = (asked.kind, record_id)
    if key in conditions.overlooked:
        conditions.overlooked.discard(key)
        return False
    if not conditions.strikes("missing", conditions.weather.missing, record_id, asked.path, asked.number):
        return False
    conditions.overlooked.add(key)
    return True


def _left_out(conditions: Conditions, server_id: str, now: float) -> bool:
    away = _is_away(conditions, server_id, now)
    if away:
        conditions.count("cell")
    return away


def _is_away(conditions: Conditions, server_id: str, now: float) -> bool:
    cell: Cell | None = conditions.weather.cell
    if cell is None or not cell.from_s <= now - conditions.began_at < cell.from_s + cell.for_s:
        return False
    return conditions.pseudo_random("cell", server_id) < cell.share
