"""The body of an answer: read up to what is of use, and decoded into records."""

from __future__ import annotations

import re
from typing import NamedTuple, TypeVar

import aiohttp
import msgspec

from batchexport.cloud.envelopes import LOOKED_AT
from batchexport.cloud.lenient import Decoder
from batchexport.errors import CloudError, OutcomeUnknownError, RefusedError, TransientError

T = TypeVar("T")

#: A page of 1,000 volumes with all details has 3 MB.
LARGEST_ANSWER = 64 * 1024 * 1024
#: No volume comes near it, and the state file can hold the sum of many.
LARGEST_GIB = 2**31
#: What clouds use are UUIDs; anything with other characters could be a path, or steer a terminal.
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class Answer(NamedTuple):
    """A whole answer that is no error."""

    method: str
    url: str
    status: int
    body: bytes
    request_id: str | None


def require_same(asked: str, answered: str, kind: str, path: str) -> None:
    """Nothing, or TransientError where the answer is about another thing than was asked for."""
    if asked.replace("-", "").lower() != answered.replace("-", "").lower():
        raise TransientError(f"asked for {kind} {asked}, answered with another one", method="GET", url=path)


async def content(response: aiohttp.ClientResponse) -> bytes:
    """The body of an answer; of an error, what could be read of its beginning.

    Raises aiohttp.ClientPayloadError for one that broke off, and CloudError for one over 64 MiB.
    """
    if response.status >= 300:
        return await _beginning(response)
    length = response.content_length
    if length is not None and length <= LARGEST_ANSWER and "Content-Encoding" not in response.headers:
        return await response.read()
    pieces = bytearray()
    async for piece in response.content.iter_any():
        pieces += piece
        if len(pieces) > LARGEST_ANSWER:
            response.close()
            raise _too_large(response)
    return bytes(pieces)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    pieces = bytearray()
    try:
        async for piece in response.content.iter_any():
            pieces += piece
            if len(pieces) > LOOKED_AT:
                response.close()
                break
    except aiohttp.ClientPayloadError:
        pass  # the status is known, which is what matters
    return bytes(pieces)


def decoded(answer: Answer, decoder: Decoder[T]) -> T:
    """The record in an answer to a read. Raises TransientError for one that is broken or not JSON at all."""
    try:
        return decoder.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TransientError(
            f"the answer cannot be read: {error}",
            method=answer.method,
            url=answer.url,
            status=answer.status,
            request_id=answer.request_id,
        ) from error


def is_id(text: str) -> bool:
    """Whether this may be the id of a volume or an image."""
    return _ID.fullmatch(text) is not None


def possible_gib(size: int | None) -> int | None:
    """The size, or None where no volume can have it."""
    return size if size is not None and 0 <= size <= LARGEST_GIB else None


def _too_large(response: aiohttp.ClientResponse) -> CloudError:
    kind = RefusedError if response.method == "GET" else OutcomeUnknownError
    return kind(
        f"the answer has more than {LARGEST_ANSWER // 2**20} MiB; no list has so much",
        method=response.method,
        url=str(response.url),
        status=response.status,
        hint="check that this is the endpoint of the service",
    )
