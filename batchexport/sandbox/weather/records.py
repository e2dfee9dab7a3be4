"""What a reader sees of the records: some are missing, cut off, or not what a reader expects."""

from __future__ import annotations

import uuid
from typing import Any

from batchexport.sandbox.replies import Refusal, glance_time
from batchexport.sandbox.weather.conditions import Asked, Conditions
from batchexport.sandbox.weather.settings import Cell

COLLECTIONS = ("volumes", "images", "servers")
LINKS = ("next", "volumes_links", "servers_links")
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
    return conditions.draw("cell", server_id) < cell.share
