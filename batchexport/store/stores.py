"""Stores by their references: made, opened for work, read, compared and forgotten.

A reference is what `--state` takes. One that is a path names a state file, kept by SQLite, and one that
begins with postgresql:// a run in a database. A store that
cannot be read raises StateError or is `Unreadable`: it is never taken for one that holds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import msgspec

from batchexport.errors import ConfigError, StateError
from batchexport.store.back_end import BackEnd, Builder, ExportedImages
from batchexport.store.port import Reader, Store
from batchexport.store.postgres.reference import DatabasePath, database_path, is_database
from batchexport.store.records import Differences, StoreRef
from batchexport.store.reports import ProcessEnd

T = TypeVar("T")


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A store that cannot be read. What it knows is not known: never that it knows nothing."""

    ref: StoreRef
    words: str  #: what is wrong with it, in full


def reference(text: str) -> Path:
    """The reference that this text is. Raises ConfigError for an address of a database that is none."""
    return database_path(text) if is_database(text) else Path(text)


def is_folder_of_runs(ref: StoreRef) -> bool:
    """Whether this names a database, and no run in it."""
    return isinstance(ref, DatabasePath) and not ref.run_name


def is_in_database(ref: StoreRef) -> bool:
    """Whether this names a run in a database."""
    return isinstance(ref, DatabasePath) and bool(ref.run_name)


def back_end_of(ref: StoreRef) -> BackEnd:
    """What keeps this store. Raises ConfigError for a reference that no back end knows."""
    if isinstance(ref, DatabasePath):
        from batchexport.store.postgres.back_end import DATABASES

        return DATABASES
    if isinstance(ref, Path):
        from batchexport.store.sqlite.back_end import STATE_FILES

        return STATE_FILES
    raise ConfigError(f"{ref}: no store of this kind is known", hint="name a state file: volumes.state")


def create(ref: StoreRef) -> AbstractContextManager[Builder]:
    """A builder of the store, which is there after `finish`; without it nothing is left.

    Raises StateError where there is one already, StateWriteError where the disk is full.
    """
    return back_end_of(ref).create(ref)


def open_for_work(ref: StoreRef, *, now: Callable[[], float] = time.time) -> Store:
    """The store, to work on. Raises StateError where it cannot be used."""
    return back_end_of(ref).open_for_work(ref, now=now)


def read(ref: StoreRef) -> Reader:
    """The store, to look at. Raises StateError where it cannot be read, or is damaged."""
    return back_end_of(ref).read(ref)


def look_into(ref: StoreRef, look: Callable[[Reader], T]) -> T | Unreadable:
    """What `look` finds in the store, or that it cannot be read; `look` reads all it needs.

    One that is not there is unreadable, too.
    """
    try:
        with read(ref) as reader:
            return look(reader)
    except StateError as error:
        return Unreadable(ref=ref, words=str(error))


def beside(ref: StoreRef) -> list[StoreRef]:
    """The other stores in the same place, those that changed last first."""
    return back_end_of(ref).beside(ref)


def companion(ref: StoreRef, suffix: str) -> Path:
    """Where a file of this machine that goes with the store is kept, by its suffix."""
    return back_end_of(ref).companion(ref, suffix)


def forget(ref: StoreRef) -> bool:
    """Remove a store no row of which was ever tried; False = it is kept, or somebody has it open."""
    return back_end_of(ref).forget(ref)


def is_untried(ref: StoreRef) -> bool:
    """Whether no row of the store was ever tried, and no server stopped for one."""
    return back_end_of(ref).is_untried(ref)


def compare(ref: StoreRef, fresh: Path) -> Differences:
    """How a list that was loaded anew into the state file `fresh` differs. Changes neither."""
    return back_end_of(ref).compare(ref, fresh)


def update(ref: StoreRef, fresh: Path) -> Differences:
    """Bring the store to the list that was loaded anew into the state file `fresh`; what was different.

    Raises StateInUseError while somebody works on it, and ListChangedError where two rows would share an
    image name; then nothing is changed.
    """
    return back_end_of(ref).update(ref, fresh)


def note_end(ref: StoreRef, end: ProcessEnd) -> None:
    """Note how a process ended. Raises StateError where the store cannot be written."""
    back_end_of(ref).note_end(ref, end)


def exported_images(ref: StoreRef, target_id: int) -> ExportedImages:
    """The images of one target's succeeded rows, kept on disk until they are taken."""
    return back_end_of(ref).exported_images(ref, target_id)
