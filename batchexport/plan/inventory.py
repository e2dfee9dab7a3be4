"""Joins every row of a target with its volume: by pages of the project's volumes, or one by one if cheaper.

Rows stay in the state file and are looked up by the volumes of each page: memory does not grow with the list.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import msgspec

from batchexport.changes import NamesLearned, SizesLearned
from batchexport.dialect import Dialect
from batchexport.model import Image, ImageQuota, Volume
from batchexport.store import NeverAttempted, Work


class Volumes(Protocol):
    """The block storage of a project, to look at."""

    async def get_volume(self, volume_id: str) -> Volume | None:
        """The volume, or None where the cloud knows none of this id."""
        ...

    def volumes(self) -> AsyncIterator[Sequence[Volume]]:
        """Pages of the project's volumes with their details, one request each."""
        ...


class Images(Protocol):
    """The images of a project, to look at."""

    async def get_image(self, image_id: str) -> Image | None:
        """The image, or None where the cloud knows none of this id."""
        ...

    def images(self, *, created_since: float | None = None) -> AsyncIterator[Sequence[Image]]:
        """Pages of the project's images, one request each; `created_since` is server time, inclusive."""
        ...

    async def get_quota(self) -> ImageQuota | None:
        """How many images the project may have and has, or None if the cloud does not report it."""
        ...


class Inventory(Protocol):
    """Read access to one project in one region. Raises only `CloudError`s."""

    @property
    def dialect(self) -> Dialect:
        """The rules of its block storage."""
        ...

    @property
    def block_storage(self) -> Volumes:
        """Its volumes."""
        ...

    @property
    def image(self) -> Images:
        """Its images."""
        ...


#: Rows in no page are read one by one, up to this many: a list may be shorter than what can be read (an
#: administrator's is), so that it alone never makes a volume count as missing.
SINGLE_READS = 20

#: Called with each row and its volume; None = the cloud has no such volume.
OnRow = Callable[[NeverAttempted, Volume | None], None]


class Unseen(msgspec.Struct, frozen=True, kw_only=True):
    """Rows whose volume was in no page and that were not read one by one either."""

    rows: int
    missing: bool  #: none of those that were read exists, so presumably these do not either


async def take_inventory(cloud: Inventory, work: Work, seen: OnRow, *, read_all: bool = False) -> Unseen:
    """Call `seen` with every row never attempted nor checked before, and record the sizes of their volumes.

    A row in no page is read by itself. The first one that exists after all shows that pages are incomplete
    here, and the others are left unseen, unless `read_all` asks for as many as allowed.
    """
    left, pages = (await work.pending()).unchecked, 0
    cheaper = left <= 1
    if not cheaper:
        async for page in cloud.block_storage.volumes():
            pages += 1
            left -= await _join(page, work, seen)
            if (
                cheaper := left <= pages + 1
            ):  # reading the remaining rows one by one costs no more than another page
                break
    if left <= 0:
        return Unseen(rows=0, missing=False)
    limit = max(SINGLE_READS, pages + 1)
    rows = await work.unchecked(after=0, limit=limit)
    read, found = await _read_singly(cloud, rows, work, seen, until_found=not (cheaper or read_all))
    if read == len(rows) < limit:
        return Unseen(rows=0, missing=False)
    return Unseen(rows=max(0, left - read), missing=not found)


async def _read_singly(
    cloud: Inventory,
    rows: Sequence[NeverAttempted],
    work: Work,
    seen: OnRow,
    *,
    until_found: bool,
) -> tuple[int, int]:
    """How many of these rows were read, and how many of their volumes exist."""
    found = 0
    for read, row in enumerate(rows, 1):
        volume = await cloud.block_storage.get_volume(row.job.volume_id)
        seen(row, volume)
        if volume is not None:
            found += 1
            _note_sizes([volume], work)
            if until_found:
                return read, found
    return len(rows), found


async def _join(page: Sequence[Volume], work: Work, seen: OnRow) -> int:
    """How many rows the volumes of a page belong to; `seen` is called with each."""
    volumes = {volume.volume_id: volume for volume in page}
    rows = await work.unchecked(volume_ids=list(volumes))
    for row in rows:
        seen(row, volumes[row.job.volume_id])
    _note_sizes(page, work)
    return len(rows)


def _note_sizes(volumes: Sequence[Volume], work: Work) -> None:
    sizes = {volume.volume_id: volume.size_gib for volume in volumes if volume.size_gib is not None}
    work.apply(SizesLearned(sizes))
    if names := {volume.volume_id: volume.name for volume in volumes if volume.name}:
        work.apply(NamesLearned(names))
