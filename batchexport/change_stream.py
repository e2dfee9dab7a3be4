"""An export whose changes are told one by one, for a program that follows it with `async for`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self, Unpack

from batchexport.changes import JobChange
from batchexport.export_options import ExportOptions
from batchexport.library import Rows, export
from batchexport.outcome import Outcome

__all__ = ["ChangeStream", "export_changes"]


class ChangeStream:
    """The changes of the rows of an export, each once it is on disk, and its outcome when they are over.

    Changes wait in memory until they are taken. A run of the same export that is resumed tells only what
    happens from then on: `read_outcome` has the rest.
    """

    def __init__(self, changes: asyncio.Queue[JobChange | None], exporting: asyncio.Task[Outcome]) -> None:
        self._changes = changes
        self._exporting = exporting
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JobChange:
        """The next change; after the last one the iteration ends, or raises what ended the export."""
        change = None if self._is_over else await self._changes.get()
        if change is not None:
            return change
        self._is_over = True
        self._exporting.result()
        raise StopAsyncIteration

    async def outcome(self) -> Outcome:
        """What became of every volume, once the export has ended. Raises as `export` does."""
        return await asyncio.shield(self._exporting)


@asynccontextmanager
async def export_changes(
    source: str | Path | Rows, *, state: str | Path | None = None, **options: Unpack[ExportOptions]
) -> AsyncIterator[ChangeStream]:
    """Export as `export` does, and tell each change of a row: `async for change in changes`.

    Where the block is left before the export has ended, by `break`, an error or cancellation, the export is
    cancelled and drained as `export` is: nothing more is sent, and what was sent gets its answer. Raises what
    `export` raises, unless the block has ended with an error of its own.
    """
    changes = asyncio.Queue[JobChange | None]()
    exporting = asyncio.create_task(export(source, state=state, on_change=changes.put_nowait, **options))
    exporting.add_done_callback(lambda _: changes.put_nowait(None))
    try:
        yield ChangeStream(changes, exporting)
    finally:
        was_left = not exporting.done()
        if was_left:
            exporting.cancel()
            await _drained(exporting)
    if not was_left:
        exporting.result()


async def _drained(exporting: asyncio.Task[Outcome]) -> None:
    """Wait until the cancelled export has drained; cancelled meanwhile, it ends at once."""
    try:
        await asyncio.wait([exporting])
    except asyncio.CancelledError:
        exporting.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait([exporting])
        raise
