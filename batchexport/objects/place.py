"""What every place offers that keeps files of images, and how one is opened by its URL."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from batchexport.errors import ConfigError
from batchexport.transfer import Bandwidth, OpenFrom, Stream, WrongDataError

#: Schemes of object stores; `file` needs nothing installed.
REMOTE_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+@=,-]+")
_MAX_NAME = 150


class Place(Protocol):
    """A folder, or a bucket with a prefix. Names have no slashes. What fails raises CloudError."""

    @property
    def url(self) -> str:
        """Where it is."""

    async def size_of(self, name: str) -> int | None:
        """The size of a whole file; None = there is none of this name."""

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
        """Save the data of a source; it appears under its name once it is whole. Returns its digests.

        `expected` are digests that it must have; where it has others, WrongDataError is raised and nothing
        kept. `key` tells apart what is begun: the same one goes on with what an earlier try left.
        """

    async def write(self, name: str, text: bytes) -> None:
        """Put a small file in its place, whole, over one that is there."""

    async def read(self, name: str) -> bytes | None:
        """A small file; None = there is none of this name."""

    def open_from(self, name: str) -> OpenFrom:
        """What opens a file at a byte."""

    async def check(self, size: int) -> str | None:
        """Why nothing of this size can be saved here, as far as that can be known; None = no reason found."""


def safe_name(text: str) -> str:
    """The text as a part of a file name that every file system and store takes."""
    return _UNSAFE.sub("_", text).lstrip(".-")[:_MAX_NAME] or "image"


def split_url(url: str) -> tuple[str, str]:
    """The folder of a URL or path, and the name behind its last slash.

    Raises ConfigError where there is no name.
    """
    folder, slash, name = url.rpartition("/")
    if not name:
        raise ConfigError(f"{url}: it ends in a slash, and names no file")
    return (folder + slash if slash else "./"), name


def digests_of(stream: Stream, expected: Mapping[str, str], source: str) -> Mapping[str, str]:
    """The digests of what came through. Raises WrongDataError where they are not those expected."""
    for name, wanted in expected.items():
        if (found := stream.hashes.get(name)) is not None and found != wanted:
            raise WrongDataError(
                f"{source}: the {name} of the data that came is {found[:16]}…, it should be {wanted[:16]}…"
            )
    return stream.hashes


def open_place(url: str) -> AbstractAsyncContextManager[Place]:
    """The place of this URL, or of the path of a folder. Raises ConfigError where there can be none."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        from batchexport.objects.folder import Folder

        if parts.scheme and parts.netloc not in ("", "localhost"):
            raise ConfigError(f"{url}: a file URL has three slashes, as in file:///backups/")
        return Folder.opened(Path(unquote(parts.path) if parts.scheme else url))
    if parts.scheme not in REMOTE_SCHEMES:
        known = ", ".join(("file", *REMOTE_SCHEMES))
        raise ConfigError(f"{url}: {parts.scheme!r} is no place for files; known are {known}")
    if not parts.netloc:
        raise ConfigError(f"{url}: it names no bucket, as in {parts.scheme}://bucket/folder/")
    try:
        from batchexport.objects.bucket import Bucket
    except ImportError as error:
        raise ConfigError(
            f"{url}: object stores need the obstore library",
            hint="pip install 'batchexport[objectstore]'",
        ) from error
    return Bucket.opened(url)


async def pieces_of(stream: Stream) -> AsyncIterator[bytes]:
    """The pieces of a stream, for what wants a generator."""
    async for piece in stream:
        yield piece
