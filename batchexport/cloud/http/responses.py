"""Responses: their bodies, read up to a limit, and decoded so that one odd value spoils nothing else; times.

A body of the expected form is decoded in one go; only one that is not is decoded piece by piece.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Generic, NamedTuple, Protocol, TypeVar, get_args, get_origin

import aiohttp
import msgspec
from msgspec.structs import FieldInfo, fields

from batchexport.cloud.http.error_bodies import MAX_ERROR_BODY_BYTES, read_error_body
from batchexport.errors import CloudError, OutcomeUnknownError, RefusedError, TransientError
from batchexport.redaction import sanitize

log = logging.getLogger(__name__)
T = TypeVar("T")
Decoded = TypeVar("Decoded", covariant=True)
#: A page of 1,000 volumes with all details has 3 MB.
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
#: Far more than any volume has; the store can hold the sum of many.
MAX_GIB = 2**31
#: At most so many unreadable records are logged.
MAX_NAMED = 20
#: Clouds use UUIDs; other characters could form a path or control a terminal.
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class Response(NamedTuple):
    """A complete response that is no error."""

    method: str
    url: str
    status: int
    body: bytes
    request_id: str | None


class Decoder(Protocol[Decoded]):
    """Makes a record of a response's body. Raises msgspec.DecodeError if there is none in it."""

    def decode(self, body: bytes, /) -> Decoded: ...


def is_error(status: int, body: bytes) -> bool:
    """Whether a response is an error. Flow control of Huawei Cloud may come as a 202 with a code in it."""
    if status == 202 and b"Common.0024" in body:
        return read_error_body(body).code == "Common.0024"
    return status >= 300


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """The id by which the cloud's operators find the request in their logs; None = not told."""
    return (
        sanitize(headers.get("x-openstack-request-id") or headers.get("x-compute-request-id") or "") or None
    )


async def read_body(response: aiohttp.ClientResponse) -> bytes:
    """The body of a response; of an error, as much of its beginning as could be read.

    Raises aiohttp.ClientPayloadError if it breaks off, and CloudError above 64 MiB.
    """
    if response.status >= 300:
        return await _beginning(response)
    length = response.content_length
    if length is not None and length <= MAX_RESPONSE_BYTES and "Content-Encoding" not in response.headers:
        return await response.read()
    pieces = bytearray()
    async for piece in response.content.iter_any():
        pieces += piece
        if len(pieces) > MAX_RESPONSE_BYTES:
            response.close()
            raise _too_large(response)
    return bytes(pieces)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    pieces = bytearray()
    try:
        async for piece in response.content.iter_any():
            pieces += piece
            if len(pieces) > MAX_ERROR_BODY_BYTES:
                response.close()
                break
    except aiohttp.ClientPayloadError:
        pass  # the status is known, which is what matters
    return bytes(pieces)


def _too_large(response: aiohttp.ClientResponse) -> CloudError:
    kind = RefusedError if response.method == "GET" else OutcomeUnknownError
    return kind(
        f"the response is larger than {MAX_RESPONSE_BYTES // 2**20} MiB, more than any list",
        method=response.method,
        url=str(response.url),
        status=response.status,
        hint="check that this is the endpoint of the service",
    )


def decode(response: Response, decoder: Decoder[T]) -> T:
    """The record in the response to a read. Raises TransientError if it is broken or no JSON."""
    try:
        return decoder.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TransientError(
            f"cannot read the response: {error}",
            method=response.method,
            url=response.url,
            status=response.status,
            request_id=response.request_id,
        ) from error


def require_same(requested: str, returned: str, kind: str, path: str) -> None:
    """Raises TransientError if the response is about another object than the request."""
    if requested.replace("-", "").lower() != returned.replace("-", "").lower():
        raise TransientError(f"requested {kind} {requested}, got another one", method="GET", url=path)


def is_id(text: str) -> bool:
    """Whether this may be the id of a volume, image or server."""
    return _ID.fullmatch(text) is not None


def valid_size_gib(size: int | None) -> int | None:
    """The size in GiB, or None if no volume can have it."""
    return size if size is not None and 0 <= size <= MAX_GIB else None


class LenientDecoder(Generic[T]):
    """Decodes JSON to `kind`, a struct, and copes with records of an unexpected form.

    An optional field with an odd value counts as missing; an entry of a list without a required field is
    skipped, with one warning. Numbers may come as strings, as some clouds send them.
    """

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._strict = msgspec.json.Decoder(kind, strict=False)
        self._named: set[str] = set()

    def decode(self, body: bytes, /) -> T:
        """The record in `body`. Raises msgspec.DecodeError if it is no JSON, or no such record."""
        try:
            return self._strict.decode(body)
        except msgspec.ValidationError:
            document: object = msgspec.json.decode(body)
            made = self._struct(self._kind, document)
            assert isinstance(made, self._kind)
            return made

    def _struct(self, kind: type, document: object) -> object:
        if not isinstance(document, Mapping):
            raise msgspec.ValidationError(f"expected `object`, got {sanitize(repr(document))[:60]}")
        values: dict[str, object] = {}
        for field in fields(kind):
            if field.encode_name in document:
                self._put(values, field, document[field.encode_name])
            elif field.required:
                raise msgspec.ValidationError(f"object missing required field `{field.encode_name}`")
        return kind(**values)

    def _put(self, values: dict[str, object], field: FieldInfo, value: object) -> None:
        try:
            values[field.name] = self._value(field.type, value)
        except (msgspec.ValidationError, OverflowError):
            if field.required:
                raise

    def _value(self, kind: object, value: object) -> object:
        record = _entry_of(kind)
        if record is not None and isinstance(value, list):
            return self._entries(record, value)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._struct(kind, value)
        return msgspec.convert(value, kind, strict=False)

    def _entries(self, kind: type, entries: Sequence[object]) -> list[object]:
        made = []
        for entry in entries:
            try:
                made.append(self._struct(kind, entry))
            except (msgspec.ValidationError, OverflowError) as error:
                self._name(entry, error)
        return made

    def _name(self, entry: object, error: Exception) -> None:
        named = entry.get("id") if isinstance(entry, Mapping) else None
        name = sanitize(named if isinstance(named, str) else repr(entry))[:80]
        if name not in self._named and len(self._named) < MAX_NAMED:
            self._named.add(name)
            extra = {"action": "record_unreadable", "record": name}
            log.warning("skipping an unreadable record: %s (%s)", name, sanitize(str(error)), extra=extra)


def _entry_of(kind: object) -> type | None:
    """The struct that a list or sequence holds; None for every other type."""
    if get_origin(kind) not in (list, Sequence):
        return None
    (entry,) = get_args(kind)
    return entry if isinstance(entry, type) and issubclass(entry, msgspec.Struct) else None


# The images of a page share few different times: whole seconds, often the same ones.
@lru_cache(maxsize=4096)
def epoch_s(text: str | None) -> float | None:
    """Seconds since the epoch of an ISO 8601 time, or None if it cannot be read.

    Block storage writes UTC with a fraction and no zone, the image service with a `Z` and no fraction.
    """
    try:
        moment = datetime.fromisoformat(text or "")
    except (ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def iso_utc(moment_s: float) -> str:
    """A time as the filters of the image service expect it, rounded down to whole seconds."""
    return datetime.fromtimestamp(math.floor(moment_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def http_date_s(text: str | None) -> float | None:
    """Seconds since the epoch of an HTTP date, or None if it cannot be read."""
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):  # OverflowError: a number with too many digits for a date
        return None


def retry_after_s(text: str | None, *, now_s: float) -> float | None:
    """Seconds to wait, at least 0, by a `Retry-After` header of seconds or a date; None = unreadable."""
    try:
        seconds = float(text or "")
    except ValueError:
        moment_s = http_date_s(text)
        return None if moment_s is None else max(0.0, moment_s - now_s)
    return max(0.0, seconds) if math.isfinite(seconds) else None
