"""What a back end provides to make, open, read, compare and forget stores; `stores` has the calls for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from batchexport.model import JobRow, JobRows
from batchexport.store.port import Reader, Store
from batchexport.store.records import Differences, Duplicate, RunRecord, StoreRef
from batchexport.store.reports import Exported, ProcessEnd


class BackEnd(Protocol):
    """What keeps stores, each under a reference of its own type. `stores` has the same calls for all."""

    def create(self, ref: StoreRef) -> AbstractContextManager[Builder]:
        """A builder of a new store."""

    def open_for_work(self, ref: StoreRef, *, now: Callable[[], float]) -> Store:
        """The store, to work on."""

    def read(self, ref: StoreRef) -> Reader:
        """The store, to look at."""

    def beside(self, ref: StoreRef) -> list[StoreRef]:
        """The other stores in the same place, those that changed last first."""

    def companion(self, ref: StoreRef, suffix: str) -> Path:
        """Where a file of this machine that goes with the store is kept."""

    def forget(self, ref: StoreRef) -> bool:
        """Remove a store no row of which was ever tried; False = it is kept."""

    def is_untried(self, ref: StoreRef) -> bool:
        """Whether no row of the store was ever tried."""

    def compare(self, ref: StoreRef, fresh: Path) -> Differences:
        """How a list that was loaded anew into a state file differs."""

    def update(self, ref: StoreRef, fresh: Path) -> Differences:
        """Bring the store to a list that was loaded anew into a state file."""

    def note_end(self, ref: StoreRef, end: ProcessEnd) -> None:
        """Note how a process ended."""

    def exported_images(self, ref: StoreRef, target_id: int) -> ExportedImages:
        """The images of one target's succeeded rows."""


class Builder(Protocol):
    """Takes the rows of a list one by one; memory does not grow with them."""

    @property
    def rows(self) -> int:
        """Rows added so far."""

    def add(self, row: JobRow, image_name: str) -> None:
        """Take one row; its job id is its place in the order of adding, from 1."""

    def add_all(self, rows: JobRows, image_names: Sequence[str]) -> None:
        """Take rows in their order, each with its image name."""

    def duplicates(self, limit: int) -> list[Duplicate]:
        """Volumes and image names that rows of one target share, by their first lines, at most `limit`.

        To be asked when the last row was added.
        """

    def finish(self, run: RunRecord) -> None:
        """Put the whole store in its place, on disk. Raises StateError if there is one by now."""


class ExportedImages(Protocol):
    """The images of one target's succeeded rows, until they are taken, but for those removed since."""

    oldest_s: float | None  #: when the first of them was asked for, by the cloud's clock

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __len__(self) -> int:
        """How many are waited for."""

    def take(self, image_ids: Sequence[str]) -> list[Exported]:
        """The rows of these images, in the order of the list; they are waited for no longer."""

    def first(self, limit: int) -> list[Exported]:
        """The first rows that are still waited for."""
