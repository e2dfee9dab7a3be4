"""A folder of this machine, or of a file system that it mounts."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from batchexport.errors import CloudError, NotFoundError, RefusedError, TransientError
from batchexport.objects.place import Place, digests_of
from batchexport.transfer import Bandwidth, OpenFrom, Stream, WrongDataError

#: Written and read in one go by a thread.
CHUNK_BYTES = 2**20


class Folder(Place):
    """A folder. What is half written is hidden under another name, and gone on with by the next try."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()

    @classmethod
    @asynccontextmanager
    async def opened(cls, path: Path) -> AsyncIterator[Folder]:
        """The folder; it is made when the first file is saved."""
        yield cls(path)

    @property
    def url(self) -> str:
        return self._path.as_uri() + "/"

    async def size_of(self, name: str) -> int | None:
        try:
            return (self._path / name).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(error) from error

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
        half = self._path / f".{name[:150]}.{key[:32]}.partial"
        try:
            await asyncio.to_thread(self._path.mkdir, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(half, flags, 0o666), "r+b", buffering=0) as file:
                held = min(os.fstat(file.fileno()).st_size, size)
                file.truncate(held)
                file.seek(held)
                source = _behind(half, held, open_from)
                algorithms = sorted({"sha512", *expected})
                async with Stream(
                    source, size=size, algorithms=algorithms, bandwidth=bandwidth, on_bytes=on_bytes
                ) as stream:
                    await _write(stream, file, skip=held)
                    hashes = digests_of(stream, expected, name)
                await asyncio.to_thread(os.fsync, file.fileno())
            await asyncio.to_thread(self._appear, half, self._path / name)
        except WrongDataError:
            half.unlink(missing_ok=True)
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                with suppress(OSError):
                    half.unlink(missing_ok=True)  # what is half written only keeps the disk full
            raise self._error(error) from error
        return hashes

    async def write(self, name: str, text: bytes) -> None:
        half = self._path / f".{name[:200]}.partial"
        try:
            await asyncio.to_thread(_write_small, half, text)
            await asyncio.to_thread(self._appear, half, self._path / name)
        except OSError as error:
            raise self._error(error) from error

    async def read(self, name: str) -> bytes | None:
        try:
            return await asyncio.to_thread((self._path / name).read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(error) from error

    def open_from(self, name: str) -> OpenFrom:
        @asynccontextmanager
        async def opened(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
            try:
                with (self._path / name).open("rb", buffering=0) as file:
                    file.seek(offset)
                    yield _read(file)
            except FileNotFoundError as error:
                raise NotFoundError(f"{self._path / name}: there is no such file") from error
            except OSError as error:
                raise self._error(error) from error

        return opened

    async def check(self, size: int) -> str | None:
        at = self._path
        while not at.exists() and at != at.parent:
            at = at.parent
        if not at.is_dir():
            return f"{at} is no folder"
        if not os.access(at, os.W_OK | os.X_OK):
            return f"{at} cannot be written to"
        found = os.statvfs(at)
        free = found.f_bavail * found.f_frsize
        return f"{at} has {free:,} bytes left, {size:,} are needed" if free < size else None

    def _appear(self, half: Path, name: Path) -> None:
        half.replace(name)
        with suppress(OSError):  # some file systems cannot
            handle = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _error(self, error: OSError) -> CloudError:
        words = f"{error.filename or self._path}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return RefusedError(f"{self._path}: {error.strerror}", hint="make room, then run it again")
        transient = error.errno in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR)
        return TransientError(words) if transient else RefusedError(words)


def _behind(half: Path, held: int, open_from: OpenFrom) -> OpenFrom:
    """The source, with what is held already read from the disk: it is hashed again, and not fetched."""

    @asynccontextmanager
    async def opened(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        yield _both(half, held, open_from, offset)

    return opened if held else open_from


async def _both(half: Path, held: int, open_from: OpenFrom, offset: int) -> AsyncIterator[bytes]:
    if offset < held:
        with half.open("rb", buffering=0) as file:
            file.seek(offset)
            async for piece in _read(file, until=held):
                yield piece
    async with open_from(max(offset, held)) as pieces:
        async for piece in pieces:
            yield piece


async def _read(file: BinaryIO, *, until: int | None = None) -> AsyncIterator[bytes]:
    while True:
        wanted = CHUNK_BYTES if until is None else min(CHUNK_BYTES, until - file.tell())
        if wanted <= 0 or not (piece := await asyncio.to_thread(file.read, wanted)):
            return
        yield piece


async def _write(stream: Stream, file: BinaryIO, *, skip: int) -> None:
    waiting: list[bytes] = []
    waiting_bytes = 0
    async for piece in stream:
        if skip:
            dropped = min(skip, len(piece))
            skip -= dropped
            piece = piece[dropped:]
        waiting.append(piece)
        waiting_bytes += len(piece)
        if waiting_bytes >= CHUNK_BYTES:
            await asyncio.to_thread(_write_all, file, waiting)
            waiting, waiting_bytes = [], 0
    await asyncio.to_thread(_write_all, file, waiting)


def _write_all(file: BinaryIO, pieces: list[bytes]) -> None:
    for piece in pieces:
        left = memoryview(piece)
        while left:
            left = left[file.write(left) :]


def _write_small(path: Path, text: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
