"""The data of images: downloads, and images that clients make, upload, import and share themselves.

Of uploaded data the size and the hashes are kept, and the data itself up to 16 MiB each until the sandbox
ends. A connection that breaks leaves the image queued again; a sandbox that is killed, `saving` for good.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping

import msgspec
from aiohttp import web
from msgspec.structs import replace

from batchexport.sandbox.image_records import (
    found_image,
    image_record,
    image_size_bytes,
    image_view,
    made_up_pieces,
)
from batchexport.sandbox.item_requests import read_body
from batchexport.sandbox.outcome import pseudo_random
from batchexport.sandbox.responses import Refusal, json_reply, new_request_id
from batchexport.sandbox.state import STATE, SandboxState
from batchexport.sandbox.world import Data, Export, ImageChange, ImageView

MAX_KEPT_BYTES = 16 * 2**20
IMPORT_METHODS = ("glance-direct", "web-download", "copy-image")
READ_ONLY = frozenset({"size", "virtual_size", "status", "checksum", "created_at", "updated_at", "self"})
READ_ONLY |= {"file", "schema", "stores", "direct_url"}
IGNORED = frozenset({"os_hash_algo", "os_hash_value", "os_hidden"})
OWN_FIELDS = frozenset({"id", "name", "disk_format", "container_format", "visibility", "protected"})
OWN_FIELDS |= {"min_disk", "min_ram", "tags", "owner"}
MAX_PROPERTIES = 128
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def routes() -> list[web.RouteDef]:
    """The paths of the image service that are about data, changes and members."""
    one = "/image/v2/images/{image_id}"
    return [
        web.post("/image/v2/images", create_image),
        web.patch(one, change_image),
        web.get(f"{one}/file", get_data),
        web.put(f"{one}/file", put_data),
        web.put(f"{one}/stage", stage_data),
        web.post(f"{one}/import", import_data),
        web.get("/image/v2/info/import", get_import_info),
    ]


async def create_image(request: web.Request) -> web.Response:
    """201 and an image without data. An id that any image ever had is refused."""
    fields = read_body(await request.read())
    state, now = request.app[STATE], request.app[STATE].now()
    for name in fields:
        if name in READ_ONLY:
            raise Refusal(403, f"Attribute '{name}' is read-only.")
        if name.startswith("os_glance_"):
            raise Refusal(403, f"Attribute '{name}' is reserved.")
    image_id = str(fields.get("id") or uuid.uuid4())
    try:
        uuid.UUID(image_id)
    except ValueError:
        raise Refusal(400, f"Invalid image id format: {image_id}") from None
    if state.world.was_taken(image_id):
        raise Refusal(409, f"Image ID {image_id} already exists!")
    created = Export(
        volume_id="",
        volume_name="",
        size_gib=0,
        status_before="",
        image_id=image_id,
        image_name=str(fields.get("name") or ""),
        disk_format=str(fields.get("disk_format") or "raw"),
        container_format=str(fields.get("container_format") or "bare"),
        visibility=str(fields.get("visibility") or "shared"),
        protected=fields.get("protected") is True,
        os_type=None,
        request_id=new_request_id(),
        accepted_at=now,
        saving_at=now,
        ends_at=now,
        free_at=now,
        fails=False,
        properties=_properties(fields),
        data=Data(
            updated_at=now,
            min_disk=_number(fields, "min_disk"),
            min_ram=_number(fields, "min_ram"),
            tags=_texts(fields.get("tags")),
        ),
    )
    state.record(created)
    return json_reply(image_record(image_view(state, image_id)), status=201)


async def change_image(request: web.Request) -> web.Response:
    """The image after a JSON patch; what is changed while it is being written is lost, as on Glance."""
    try:
        changes = msgspec.json.decode(await request.read(), type=list[dict[str, object]])
    except msgspec.MsgspecError:
        raise Refusal(400, "Malformed request body") from None
    state, view = found_image(request)
    if request.content_type != "application/openstack-images-v2.1-json-patch":
        raise Refusal(415, "Unsupported Content-Type")
    properties: dict[str, str] = dict(view.export.properties)
    change: dict[str, object] = {}
    for each in changes:
        name, value = str(each.get("path", "")).lstrip("/"), each.get("value")
        if name in READ_ONLY:
            raise Refusal(403, f"Attribute '{name}' is read-only.")
        if name.startswith("os_glance"):
            raise Refusal(403, f"Attribute '{name}' is reserved.")
        if name == "tags":
            change[name] = _texts(value)
        elif name in ("visibility", "name", "protected"):
            change[name] = value
        elif each.get("op") == "remove":
            if properties.pop(name, None) is None:
                raise Refusal(409, f"Property {name} does not exist.")
        else:
            properties |= _properties({name: value})
    if len(properties) > MAX_PROPERTIES:
        raise Refusal(413, "The limit has been exceeded on the number of allowed image properties.")
    if view.status != "saving":
        image_id = view.export.image_id
        state.record(
            msgspec.convert(
                {
                    "event": "image_change",
                    "image_id": image_id,
                    "changed_at": state.now(),
                    "properties": properties,
                    **change,
                },
                ImageChange,
            )
        )
    return json_reply(image_record(image_view(state, view.export.image_id)))


async def get_data(request: web.Request) -> web.StreamResponse:
    """The data of an image, or a part of it; 204 where it has none yet."""
    state, view = found_image(request)
    size = image_size_bytes(view)
    stored = state.blobs.get(view.export.image_id)
    has_data = stored is not None or (view.export.bytes_per_gib and view.export.data is None)
    if view.status != "active" or size is None or not has_data:
        return web.Response(status=204)
    first, last = _range(request, size)
    headers = {"Content-Length": str(last - first), "Content-Type": "application/octet-stream"}
    headers["Content-MD5"] = str(image_record(view)["checksum"])
    if "Range" in request.headers:
        headers["Content-Range"] = f"bytes {first}-{last - 1}/{size}"
    response = web.StreamResponse(status=206 if "Range" in request.headers else 200, headers=headers)
    if request.transport is None:
        return response
    await response.prepare(request)
    left = last - first
    cut = _strikes(state, "cut_share", view.export.image_id)
    pieces: Iterable[bytes] = made_up_pieces(view.export.image_id, last, first=first)
    for piece in [stored[first:last]] if stored is not None else pieces:
        if cut and left <= (last - first) // 2:
            request.transport.close()
            return response
        await response.write(piece)
        left -= len(piece)
    await response.write_eof()
    return response


async def put_data(request: web.Request) -> web.Response:
    """204: the image is active."""
    state, view = found_image(request)
    await _take(request, state, view, staged=False)
    return web.Response(status=204)


async def stage_data(request: web.Request) -> web.Response:
    """204: the data waits for an import."""
    state, view = found_image(request)
    await _take(request, state, view, staged=True)
    return web.Response(status=204)


async def import_data(request: web.Request) -> web.Response:
    """202: the staged data becomes the image's."""
    body = read_body(await request.read())
    state, view = found_image(request)
    method = body.get("method")
    name = method.get("name") if isinstance(method, dict) else None
    if name not in IMPORT_METHODS:
        raise Refusal(400, f"Unknown import method name '{name}'.")
    if name != "glance-direct":
        raise Refusal(400, "URI for web-download does not pass filtering")
    data = view.export.data
    if data is None or view.status != "uploading":
        raise Refusal(409, f"Only images with status 'uploading' can be imported, not '{view.status}'")
    _set(state, view, replace(data, status="active", updated_at=state.now()))
    return web.Response(status=202)


async def get_import_info(request: web.Request) -> web.Response:
    """Which imports there are."""
    methods = {"description": "Import methods available.", "type": "array", "value": list(IMPORT_METHODS)}
    return json_reply({"import-methods": methods})


async def _take(request: web.Request, state: SandboxState, view: ImageView, *, staged: bool) -> None:
    """Take in the data of a queued image; queued again where it does not come whole."""
    data, image_id = view.export.data, view.export.image_id
    if request.content_type != "application/octet-stream":
        raise Refusal(415, f"Unsupported Content-Type: {request.content_type}")
    during = "uploading" if staged else "saving"
    if data is None or data.status != "queued":
        raise Refusal(409, f"Image status transition from {view.status} to {during} is not allowed")
    _set(state, view, replace(data, status=during, updated_at=state.now()))
    try:
        received = await _received(request, state, image_id)
    except (Refusal, OSError, asyncio.CancelledError, web.HTTPException):
        if (now_there := state.world.image(image_id, state.now())) is not None:
            _set(state, now_there, replace(data, status="queued", updated_at=state.now()))
        raise
    if state.world.image(image_id, state.now()) is None:
        raise Refusal(410, f"Image {image_id} not found")
    status = "uploading" if staged else "active"
    _set(state, view, replace(received(data), status=status, updated_at=state.now()))


class _Received:
    """What came in: its hashes, and the data as long as it is small."""

    def __init__(self) -> None:
        self.size = 0
        self.md5, self.sha512 = hashlib.md5(usedforsecurity=False), hashlib.sha512()
        self.blob: bytearray | None = bytearray()

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self.md5.update(piece)
        self.sha512.update(piece)
        if self.blob is not None:
            self.blob += piece
            if len(self.blob) > MAX_KEPT_BYTES:
                self.blob = None

    def __call__(self, data: Data) -> Data:
        hashes = {"md5": self.md5.hexdigest(), "sha512": self.sha512.hexdigest()}
        return replace(data, size=self.size, **hashes)


async def _received(request: web.Request, state: SandboxState, image_id: str) -> _Received:
    received = _Received()
    spoilt = _strikes(state, "wrong_byte_share", image_id)
    async for piece in _body(request):
        if spoilt and received.size:
            piece, spoilt = bytes([piece[0] ^ 1]) + piece[1:], False
        received.add(piece)
    told = request.headers.get("x-openstack-image-size")
    if told is not None and int(told) != received.size:
        raise Refusal(400, f"Size mismatch: expected {told} bytes, got {received.size}")
    if not received.size:
        raise Refusal(415, f"Image {image_id} has no data")
    if received.blob is not None:
        state.blobs[image_id] = bytes(received.blob)
    return received


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    async for piece in request.content.iter_any():
        if piece:
            yield piece


def _strikes(state: SandboxState, fault: str, image_id: str) -> bool:
    """Whether this fault strikes the image: only the first time."""
    share: float = getattr(state.settings.faults, fault)
    if pseudo_random(state.settings.faults.seed, fault, image_id) >= share:
        return False
    struck = f"{fault}:{image_id}"
    state.counts[struck] += 1
    return state.counts[struck] == 1


def _range(request: web.Request, size: int) -> tuple[int, int]:
    """The first byte asked for and the one behind the last."""
    if (asked := request.headers.get("Range")) is None:
        return 0, size
    if "," in asked:
        raise Refusal(400, "Requests with multiple ranges are not supported in Glance. Please make")
    found = _RANGE.fullmatch(asked)
    if found is None or found.group(0) == "bytes=-":
        raise Refusal(416, f"The range {asked} cannot be satisfied")
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    begin, end = int(first), min(int(last) + 1 if last else size, size)
    if begin >= end:
        raise Refusal(416, f"The range {asked} cannot be satisfied")
    return begin, end


def _set(state: SandboxState, view: ImageView, data: Data) -> None:
    state.record(ImageChange(image_id=view.export.image_id, changed_at=state.now(), data=data))


def _properties(fields: Mapping[str, object]) -> dict[str, str]:
    found = {}
    for name, value in fields.items():
        if name in OWN_FIELDS or name in IGNORED:
            continue
        if not isinstance(value, str):
            raise Refusal(400, f"{value!r} is not of type 'string'")
        if len(name) > 255 or len(value) > 65535:
            raise Refusal(500, "Internal Server Error")
        found[name] = value
    if len(found) > MAX_PROPERTIES:
        raise Refusal(413, "The limit has been exceeded on the number of allowed image properties.")
    return found


def _number(fields: Mapping[str, object], name: str) -> int:
    value = fields.get(name) or 0
    if not isinstance(value, int) or value < 0:
        raise Refusal(400, f"{value!r} is not of type 'integer'")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) and len(each) < 256 for each in value):
        raise Refusal(400, f"{value!r} is not a list of tags")
    return tuple(dict.fromkeys(value))
