"""An object store: S3 and what speaks it, Google Cloud Storage, Azure; by the obstore library.

Where it is and who we are comes from the environment, as for other tools: AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME …
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import obstore
from obstore import exceptions
from obstore.store import from_url

from batchexport.errors import CloudError, ConfigError, NotFoundError, RefusedError, TransientError
from batchexport.objects.place import Place, digests_of
from batchexport.redaction import sanitize
from batchexport.transfer import Bandwidth, OpenFrom, Stream

#: S3 takes at most 10,000 parts of an object.
MAX_PARTS = 9000
PART_BYTES = 8 * 2**20
#: Parts in memory at once: up to some 500 GiB, one of them has at most 56 MiB.
PARTS_AT_ONCE = 4
MAX_MEMORY_BYTES = 48 * 2**20
#: Bytes per second of all parts together, of the slowest line that gets anything through.
SLOWEST_PARTS = 256 * 1024


class Bucket(Place):
    """A bucket and a prefix in it. An object appears when its last part is there."""

    def __init__(self, store: Any, url: str) -> None:
        self._store = store
        self._url = url

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str) -> AsyncIterator[Bucket]:
        """The bucket; nothing is sent yet. Raises ConfigError where its settings cannot be used."""
        try:
            store = from_url(url.rstrip("/"))
        except exceptions.BaseError as error:
            raise ConfigError(f"{url}: {_words(error)}") from error
        yield cls(store, url.rstrip("/") + "/")

    @property
    def url(self) -> str:
        return self._url

    async def size_of(self, name: str) -> int | None:
        try:
            found = await obstore.head_async(self._store, name)
        except (exceptions.NotFoundError, FileNotFoundError):
            return None
        except exceptions.BaseError as error:
            raise self._error(error, name) from error
        return int(found["size"])

    async def save(
        self,
        name: str,
        open_from: OpenFrom,
        *,
        size: int,
        expected: Mapping[str, str],
        key: str,
        bandwidth: Bandwidth,
        on_bytes: Callable[[int], None],
    ) -> Mapping[str, str]:
        part = max(PART_BYTES, -(-size // MAX_PARTS))
        algorithms = sorted({"sha512", *expected})
        stream = Stream(open_from, size=size, algorithms=algorithms, bandwidth=bandwidth, on_bytes=on_bytes)
        failed: list[BaseException] = []

        async def checked() -> AsyncIterator[bytes]:
            try:
                async for piece in stream:
                    yield piece
                digests_of(stream, expected, name)  # raised before the last part is sent
            except BaseException as error:
                failed.append(error)
                raise

        at_once = max(1, min(PARTS_AT_ONCE, MAX_MEMORY_BYTES // part))
        async with stream:
            try:
                # It takes no more before one of its parts has arrived.
                async with stream.stall.limit(patience_s=at_once * part / SLOWEST_PARTS):
                    await obstore.put_async(
                        self._store,
                        name,
                        checked(),
                        use_multipart=True,
                        chunk_size=part,
                        max_concurrency=at_once,
                    )
            except CloudError:
                raise  # it stalled
            except Exception as error:
                if failed and isinstance(failed[0], Exception):
                    raise failed[0] from error
                raise self._error(error, name) from error
        return stream.hashes

    async def write(self, name: str, text: bytes) -> None:
        try:
            await obstore.put_async(self._store, name, text, use_multipart=False)
        except Exception as error:
            raise self._error(error, name) from error

    async def read(self, name: str) -> bytes | None:
        try:
            found = await obstore.get_async(self._store, name)
            return bytes(await found.bytes_async())
        except (exceptions.NotFoundError, FileNotFoundError):
            return None
        except Exception as error:
            raise self._error(error, name) from error

    def open_from(self, name: str) -> OpenFrom:
        @asynccontextmanager
        async def opened(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
            yield self._pieces(name, offset)

        return opened

    async def _pieces(self, name: str, offset: int) -> AsyncIterator[bytes]:
        try:
            found = await obstore.get_async(self._store, name, options={"range": {"offset": offset}})
            async for piece in found.stream(min_chunk_size=2**20):
                yield bytes(piece)
        except Exception as error:
            raise self._error(error, name) from error

    async def check(self, size: int) -> str | None:
        try:
            await self.size_of("batchexport-is-this-bucket-here")
        except CloudError as error:
            return str(error)
        return None

    def _error(self, error: Exception, name: str) -> CloudError:
        words = f"{self._url}{name}: {_words(error)}"
        if isinstance(error, exceptions.NotFoundError | FileNotFoundError):
            return NotFoundError(words)
        refused = (
            exceptions.PermissionDeniedError,
            exceptions.UnauthenticatedError,
            exceptions.InvalidPathError,
            exceptions.NotSupportedError,
        )
        if isinstance(error, (*refused, PermissionError)):
            return RefusedError(words, hint="check the credentials of the store, and its endpoint")
        return TransientError(words)


def _words(error: Exception) -> str:
    """The first line of what the library says: behind it stand its own structures."""
    return sanitize(str(error).split("\n", 1)[0])[:300]
