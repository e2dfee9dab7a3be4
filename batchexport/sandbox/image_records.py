"""Images as Glance writes them, and the schema by which clients read them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from batchexport.sandbox.replies import glance_time
from batchexport.sandbox.settings import PROJECT_ID
from batchexport.sandbox.world import ImageView

GIB = 2**30
#: Formats that leave empty space out are given a third of the volume's size.
THIN_SHARE = 3

#: What images can be sorted by, in the order in which Glance names them in its refusals.
SORT_KEYS: Mapping[str, Callable[[ImageView], str | float]] = {
    "name": lambda view: view.export.image_name,
    "status": lambda view: view.status,
    "container_format": lambda view: view.export.container_format,
    "disk_format": lambda view: view.export.disk_format,
    "size": lambda view: image_size_bytes(view) or 0,
    "id": lambda view: view.export.image_id,
    "created_at": lambda view: view.export.accepted_at,
    "updated_at": lambda view: view.updated_at,
}


def image_size_bytes(view: ImageView) -> int | None:
    """The size of the image's file, or None until it is written."""
    if view.status != "active":
        return None
    size = int(view.export.size_gib * GIB * view.export.bytes_share)
    return size if view.export.disk_format == "raw" else size // THIN_SHARE


def image_record(view: ImageView) -> dict[str, object]:
    """The image with everything that is known of it."""
    export = view.export
    path = f"/v2/images/{export.image_id}"
    record: dict[str, object] = {
        "name": export.image_name,
        "disk_format": export.disk_format,
        "container_format": export.container_format,
        "visibility": export.visibility,
        "size": image_size_bytes(view),
        "virtual_size": None if view.status != "active" else export.size_gib * GIB,
        "status": view.status,
        **_checksums(view),
        "protected": export.protected,
        "min_ram": 0,
        "min_disk": 0,
        "owner": export.owner or PROJECT_ID,
        "os_hidden": False,
        "id": export.image_id,
        "created_at": glance_time(export.accepted_at),
        "updated_at": glance_time(view.updated_at),
        "tags": [],
        "self": path,
        "file": f"{path}/file",
        "schema": "/v2/schemas/image",
    }
    if export.os_type is not None:
        record["__os_type"] = export.os_type
    return record


def _checksums(view: ImageView) -> dict[str, str | None]:
    """Checksums of no data: of the id, so that they look right and stay the same."""
    if view.status != "active":
        return {"checksum": None, "os_hash_algo": None, "os_hash_value": None}
    content = view.export.image_id.encode()
    return {
        "checksum": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "os_hash_algo": "sha512",
        "os_hash_value": hashlib.sha512(content).hexdigest(),
    }


def _properties() -> dict[str, object]:
    read_only = ("status", "checksum", "os_hash_algo", "os_hash_value", "created_at", "updated_at", "self")
    sizes = ("size", "virtual_size", "min_ram", "min_disk")
    editable = ("id", "name", "visibility", "owner", "container_format", "disk_format", "file", "schema")
    return {
        **{name: {"type": ["null", "string"], "readOnly": True} for name in read_only},
        **{name: {"type": ["null", "integer"], "readOnly": name.endswith("size")} for name in sizes},
        **{name: {"type": ["null", "string"]} for name in editable},
        **{name: {"type": "boolean"} for name in ("protected", "os_hidden")},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}},
    }


IMAGE_SCHEMA: Mapping[str, object] = {
    "name": "image",
    "properties": _properties(),
    "additionalProperties": {"type": "string"},
    "links": [{"rel": "self", "href": "{self}"}, {"rel": "describedby", "href": "{schema}"}],
}
IMAGES_SCHEMA: Mapping[str, object] = {
    "name": "images",
    "properties": {
        "images": {"type": "array", "items": IMAGE_SCHEMA},
        "first": {"type": "string"},
        "next": {"type": "string"},
        "schema": {"type": "string"},
    },
    "links": [
        {"rel": "first", "href": "{first}"},
        {"rel": "next", "href": "{next}"},
        {"rel": "describedby", "href": "{schema}"},
    ],
}
