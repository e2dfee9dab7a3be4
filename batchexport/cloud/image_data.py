"""The bytes of images: downloaded and uploaded as streams, and what an image is made with."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http.error_mapping import error_from_no_response
from batchexport.cloud.http.session import HttpSession
from batchexport.cloud.http.transport import Fence
from batchexport.errors import NotFoundError, RefusedError, TransientError

_BYTES = {"Content-Type": "application/octet-stream"}
_PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
_DOCUMENT = msgspec.json.Decoder(dict[str, Any])


class ImportMethodsRecord(msgspec.Struct):
    """The kinds of import that the service offers."""

    value: list[str] = []


class ImportInfo(msgspec.Struct):
    """What the service tells of its imports."""

    import_methods: ImportMethodsRecord = msgspec.field(
        name="import-methods", default_factory=ImportMethodsRecord
    )


class FormatSchema(msgspec.Struct):
    """The values that a property may have."""

    enum: list[str | None] | None = None


class SchemaProperties(msgspec.Struct):
    """The properties of an image, as far as they are asked for."""

    disk_format: FormatSchema = msgspec.field(default_factory=FormatSchema)


class ImageSchema(msgspec.Struct):
    """What the service tells of the images that it takes."""

    properties: SchemaProperties = msgspec.field(default_factory=SchemaProperties)


_SCHEMA = msgspec.json.Decoder(ImageSchema)
_IMPORT_INFO = msgspec.json.Decoder(ImportInfo)


class ImageData:
    """The contents of the images of one project."""

    def __init__(self, session: HttpSession, endpoint: Endpoint) -> None:
        self._session = session
        self._endpoint = endpoint

    async def get_document(self, image_id: str) -> Mapping[str, object] | None:
        """Everything that the cloud tells of the image, as it tells it; None = no image of this id."""
        try:
            document: dict[str, object] = await self._session.read(self._endpoint, _path(image_id), _DOCUMENT)
        except NotFoundError:
            return None
        return document

    async def disk_formats(self) -> Sequence[str] | None:
        """The disk formats that the service takes, as its schema tells; None = it does not tell."""
        try:
            schema = await self._session.read(self._endpoint, "/schemas/image", _SCHEMA)
        except RefusedError:
            return None
        allowed = [each for each in schema.properties.disk_format.enum or () if each is not None]
        return allowed or None

    async def create_image(self, fields: Mapping[str, object], *, fence: Fence) -> None:
        """Make an image without data. With an `id` in the fields, that is its id.

        Raises VolumeStateError where an image ever had that id: the server sees to it that there is one.
        """
        body = msgspec.json.encode(fields)
        await self._session.request("POST", self._endpoint, "/images", body=body, fence=fence)

    async def change_image(
        self, image_id: str, changes: Sequence[Mapping[str, object]], *, fence: Fence
    ) -> None:
        """Change properties by a JSON patch. Lost without a word while the image is being written."""
        body = msgspec.json.encode(changes)
        await self._session.request(
            "PATCH", self._endpoint, _path(image_id), body=body, fence=fence, headers=_PATCH
        )

    @asynccontextmanager
    async def download(self, image_id: str, *, offset: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of the image from `offset` on, in pieces as they come.

        Raises RefusedError where the cloud does not hand out its images, TransientError where the image has
        no data (yet) or the connection breaks. The pieces may end early: compare their sum with the size.
        """
        headers = {"Accept": "application/octet-stream"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        path = _path(image_id) + "/file"
        async with self._session.stream("GET", self._endpoint, path, headers=headers) as response:
            url = self._endpoint.url + path
            if response.status == 204:  # Glance says so of an image that is queued or being written
                raise TransientError("the image has no data", method="GET", url=url, status=204)
            skip = offset - _begins_at(response)
            if skip < 0:
                words = f"asked for the data from byte {offset}, got other data"
                raise TransientError(words, method="GET", url=url, status=response.status)
            yield _pieces(response, url, skip)

    async def upload(
        self, image_id: str, pieces: AsyncIterable[bytes], *, size: int, staged: bool = False, fence: Fence
    ) -> None:
        """Send the data of a queued image, exactly `size` bytes; to the staging area if `staged`.

        Raises OutcomeUnknownError where the connection broke: the image is queued again soon, or stays
        `saving` for good where the service died.
        """
        headers = {**_BYTES, "Content-Length": str(size), "x-openstack-image-size": str(size)}
        path = _path(image_id) + ("/stage" if staged else "/file")
        sending = self._session.stream("PUT", self._endpoint, path, headers=headers, body=pieces, fence=fence)
        async with sending:
            pass

    async def import_methods(self) -> frozenset[str]:
        """The import methods that the service offers; empty = none, or it does not tell."""
        try:
            info = await self._session.read(self._endpoint, "/info/import", _IMPORT_INFO)
        except RefusedError:
            return frozenset()
        return frozenset(info.import_methods.value)

    async def import_image(self, image_id: str, method: Mapping[str, str], *, fence: Fence) -> None:
        """Let the service take the data of a queued or staged image: `{"name": "glance-direct"}` …"""
        body = msgspec.json.encode({"method": method})
        path = _path(image_id) + "/import"
        await self._session.request("POST", self._endpoint, path, body=body, fence=fence)


def _path(image_id: str) -> str:
    return f"/images/{quote(image_id, safe='')}"


def _begins_at(response: aiohttp.ClientResponse) -> int:
    """The place in the image of the first byte of a response; 0 for a service that ignores ranges."""
    if response.status != 206:
        return 0
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdecimal() else 2**63


async def _pieces(response: aiohttp.ClientResponse, url: str, skip: int) -> AsyncIterator[bytes]:
    try:
        async for piece in response.content.iter_any():
            if skip:
                dropped = min(skip, len(piece))
                skip -= dropped
                piece = piece[dropped:]
            if piece:
                yield piece
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise error_from_no_response(method="GET", url=url, cause=error, sent=True) from error
