"""Images as Glance writes them, the schema by which clients read them, and the filters of a list."""

from __future__ import annotations

import csv
import hashlib
import operator
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import cast

from aiohttp import web
from multidict import MultiMapping

from batchexport.sandbox.responses import Refusal, glance_time
from batchexport.sandbox.settings import PROJECT_ID
from batchexport.sandbox.state import STATE, SandboxState
from batchexport.sandbox.world import ImageView

GIB = 2**30
#: Formats that leave empty space out are given a third of the volume's size.
THIN_SHARE = 3
#: Of what the data of images is made.
PIECE_BYTES = 65536

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


def found_image(request: web.Request) -> tuple[SandboxState, ImageView]:
    """The image that the path names. Raises Refusal (404) where there is none."""
    state = request.app[STATE]
    return state, image_view(state, request.match_info["image_id"])


def image_view(state: SandboxState, image_id: str) -> ImageView:
    """The image as it is now. Raises Refusal (404) where there is none."""
    view = state.world.image(image_id, state.now())
    if view is None:
        raise Refusal(404, f"No image found with ID {image_id}")
    return view


def image_size_bytes(view: ImageView) -> int | None:
    """The size of the image's file, or None until it is written."""
    if view.export.data is not None:
        return view.export.data.size
    if view.status != "active":
        return None
    if view.export.bytes_per_gib:
        return view.export.size_gib * view.export.bytes_per_gib
    size = int(view.export.size_gib * GIB * view.export.bytes_share)
    return size if view.export.disk_format == "raw" else size // THIN_SHARE


def image_record(view: ImageView) -> dict[str, object]:
    """The image with everything that is known of it."""
    export = view.export
    path = f"/v2/images/{export.image_id}"
    data = export.data
    virtual = export.size_gib * GIB if view.status == "active" else None
    if data is not None and export.disk_format == "raw":
        virtual = data.size
    record: dict[str, object] = {
        "name": export.image_name,
        "disk_format": export.disk_format,
        "container_format": export.container_format,
        "visibility": export.visibility,
        "size": image_size_bytes(view),
        "virtual_size": virtual,
        "status": view.status,
        **_checksums(view),
        "protected": export.protected,
        "min_ram": 0 if data is None else data.min_ram,
        "min_disk": 0 if data is None else data.min_disk,
        "owner": export.owner or PROJECT_ID,
        "os_hidden": False,
        "id": export.image_id,
        "created_at": glance_time(export.accepted_at),
        "updated_at": glance_time(view.updated_at),
        "tags": list(export.tags if data is None or export.tags else data.tags),
        "self": path,
        "file": f"{path}/file",
        "schema": "/v2/schemas/image",
    }
    record |= {name: text for name, text in export.properties.items() if name not in record}
    if export.os_type is not None:
        record["__os_type"] = export.os_type
    return record


def _checksums(view: ImageView) -> dict[str, str | None]:
    """Of the data that the image has; else of its id, so that they look right and stay the same."""
    if (data := view.export.data) is not None:
        algorithm = None if data.sha512 is None else "sha512"
        return {"checksum": data.md5, "os_hash_algo": algorithm, "os_hash_value": data.sha512}
    if view.status != "active":
        return {"checksum": None, "os_hash_algo": None, "os_hash_value": None}
    if size := view.export.bytes_per_gib and image_size_bytes(view):
        md5, sha512 = made_up_hashes(view.export.image_id, size)
        return {"checksum": md5, "os_hash_algo": "sha512", "os_hash_value": sha512}
    content = view.export.image_id.encode()
    return {
        "checksum": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "os_hash_algo": "sha512",
        "os_hash_value": hashlib.sha512(content).hexdigest(),
    }


def made_up_pieces(image_id: str, size: int, *, first: int = 0) -> Iterator[bytes]:
    """The bytes of an image from `first` on, made up from its id: a block that repeats."""
    block = hashlib.shake_256(image_id.encode()).digest(PIECE_BYTES)
    at = first
    while at < size:
        begin = at % PIECE_BYTES
        piece = block[begin : begin + min(PIECE_BYTES - begin, size - at)]
        at += len(piece)
        yield piece


@lru_cache(maxsize=1024)
def made_up_hashes(image_id: str, size: int) -> tuple[str, str]:
    """MD5 and SHA-512 of such bytes."""
    md5, sha512 = hashlib.md5(usedforsecurity=False), hashlib.sha512()
    for piece in made_up_pieces(image_id, size):
        md5.update(piece)
        sha512.update(piece)
    return md5.hexdigest(), sha512.hexdigest()


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


Admits = Callable[[ImageView], bool]

#: Parameters that choose no images; sharing between projects does not exist here.
PAGE_PARAMETERS = {"limit", "marker", "sort", "sort_key", "sort_dir", "member_status"}
#: The filters that also take several values: `in:a,b`.
LISTABLE: Mapping[str, Callable[[ImageView], str]] = {
    "id": lambda view: view.export.image_id,
    "name": lambda view: view.export.image_name,
    "status": lambda view: view.status,
    "container_format": lambda view: view.export.container_format,
    "disk_format": lambda view: view.export.disk_format,
}
#: Times are kept in whole seconds, and are compared as such.
TIMES: Mapping[str, Callable[[ImageView], float]] = {
    "created_at": lambda view: int(view.export.accepted_at),
    "updated_at": lambda view: int(view.updated_at),
}
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
    "neq": operator.ne,
}
VISIBILITIES = ("public", "private", "shared", "community")


def read_filters(query: MultiMapping[str]) -> Admits:
    """A test for images that passes those the query asks for. Refuses a filter it cannot read."""
    tests = list(_tests(query))
    return lambda view: all(test(view) for test in tests)


def _tests(query: MultiMapping[str]) -> Iterator[Admits]:
    for name, text in query.items():
        if name in LISTABLE:
            yield _among(LISTABLE[name], text)
        elif name in TIMES:
            yield _at_time(name, text)
        elif name in ("size_min", "size_max"):
            yield _of_size(name, text)
        elif name in ("protected", "os_hidden"):
            yield _flagged(name, text)
        elif name == "visibility":
            yield _visible(text)
        elif name == "owner":
            yield _owned(text)
        elif name == "tag":
            yield _tagged(text)
        elif name not in PAGE_PARAMETERS:
            yield _with_property(name, text)


def _among(value: Callable[[ImageView], str], text: str) -> Admits:
    if not text.startswith("in:"):
        return lambda view: value(view) == text
    wanted = frozenset(next(csv.reader([text[3:]], skipinitialspace=True), ()))
    return lambda view: value(view) in wanted


def _at_time(name: str, text: str) -> Admits:
    word, colon, rest = text.partition(":")
    # A bare time has colons too: it begins with a digit, an operator never does.
    comparison, instant = (word, rest) if colon and not word[:1].isdigit() else ("eq", text)
    if comparison not in COMPARISONS:
        raise Refusal(400, "Unable to filter on a unknown operator.")
    compare, bound, value = COMPARISONS[comparison], _seconds(name, instant), TIMES[name]
    return lambda view: compare(value(view), bound)


def _seconds(name: str, instant: str) -> float:
    try:
        parsed = datetime.fromisoformat(instant)
    except ValueError:
        words = f'Bad "{name}" query filter format. Use ISO 8601 DateTime notation.'
        raise Refusal(400, words) from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _of_size(name: str, text: str) -> Admits:
    if not text.isdigit():
        raise Refusal(400, "Unable to filter on a range with a non-numeric value.")
    bound, compare = int(text), operator.ge if name == "size_min" else operator.le
    return lambda view: (size := image_size_bytes(view)) is not None and compare(size, bound)


def _flagged(name: str, text: str) -> Admits:
    if text.lower() not in ("true", "false"):
        words = f"Invalid value '{text}' for '{name}' filter. Valid values are 'true' or 'false'."
        raise Refusal(400, words)
    wanted = text.lower() == "true"
    if name == "os_hidden":
        return _always(not wanted)
    return lambda view: view.export.protected is wanted


def _owned(text: str) -> Admits:
    return lambda view: (view.export.owner or PROJECT_ID) == text


def _visible(text: str) -> Admits:
    if text == "all":
        return _always(True)
    if text not in VISIBILITIES:
        raise Refusal(400, f"Invalid visibility value: {text}")
    return lambda view: view.export.visibility == text


def _tagged(text: str) -> Admits:
    return lambda view: text in cast("list[str]", image_record(view)["tags"])


def _with_property(name: str, text: str) -> Admits:
    return lambda view: str(image_record(view).get(name)) == text


def _always(answer: bool) -> Admits:
    return lambda view: answer
