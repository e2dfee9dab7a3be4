"""Every row of a target joined with its volume: by pages of the project's volumes, or one by one if cheaper.

Rows stay in the state file and are asked for by the volumes of each page: memory does not grow with the list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from batchexport.model import Volume
from batchexport.plan.ports import Inventory
from batchexport.store import Unsent, Work

#: Rows that no page showed are read one by one, up to so many: a list may be shorter than what can be read
#: (an administrator's is), so that nothing is called missing by it alone.
SINGLE_READS = 20

#: Told of each row and its volume; None = the cloud knows no such volume.
OnRow = Callable[[Unsent, Volume | None], None]


class Unseen(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of which no volume was seen, and that were not read one by one either."""

    rows: int
    missing: bool  #: of those that were read, none was there: these will not be either


async def survey(cloud: Inventory, work: Work, seen: OnRow, *, read_all: bool = False) -> Unseen:
    """Tell `seen` of every row never tried and not looked at before, and note the sizes of their volumes.

    A row that is in no page is read by itself; the first one that is there after all shows that pages are not
    the whole truth here, and the others are left unseen, unless `read_all` asks for as many as allowed.
    """
    left, pages = await work.unsized(), 0
    cheaper = left <= 1
    if not cheaper:
        async for page in cloud.block_storage.volumes():
            pages += 1
            left -= await _join(page, work, seen)
            if cheaper := left <= pages + 1:  # as much again, and each row could have been read by itself
                break
    if left <= 0:
        return Unseen(rows=0, missing=False)
    limit = max(SINGLE_READS, pages + 1)
    rows = await work.unsent_after(0, limit=limit)
    read, found = await _read_singly(cloud, rows, work, seen, until_found=not (cheaper or read_all))
    if read == len(rows) < limit:
        return Unseen(rows=0, missing=False)
    return Unseen(rows=max(0, left - read), missing=not found)


async def _read_singly(
    cloud: Inventory,
    rows: Sequence[Unsent],
    work: Work,
    seen: OnRow,
    *,
    until_found: bool,
) -> tuple[int, int]:
    """How many of these rows were read, and of how many the volume is there."""
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
    """How many rows the volumes of a page belong to; `seen` is told of each."""
    volumes = {volume.volume_id: volume for volume in page}
    rows = await work.unsent_of(list(volumes))
    for row in rows:
        seen(row, volumes[row.job.volume_id])
    _note_sizes(page, work)
    return len(rows)


def _note_sizes(volumes: Sequence[Volume], work: Work) -> None:
    sizes = {volume.volume_id: volume.size_gib for volume in volumes if volume.size_gib is not None}
    work.sizes(sizes)
    if names := {volume.volume_id: volume.name for volume in volumes if volume.name}:
        work.volume_names(names)
