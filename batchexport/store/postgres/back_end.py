"""Runs in databases as a back end, with the other runs of their database beside them."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from batchexport.errors import StateInUseError
from batchexport.store.back_end import BackEnd, Builder
from batchexport.store.postgres import load, other_runs
from batchexport.store.postgres.address import driver
from batchexport.store.postgres.connection import CATALOGUE, RunConnection
from batchexport.store.postgres.postgres_errors import translated
from batchexport.store.postgres.reference import DatabasePath
from batchexport.store.postgres.state import PostgresStore
from batchexport.store.records import Differences, StoreRef
from batchexport.store.reports import ProcessEnd
from batchexport.store.sqlite import files, lease, list_changes
from batchexport.store.sqlite.connection import open_for_reading
from batchexport.store.sqlite.exported_images import SqliteExportedImages
from batchexport.store.sqlite.reader import StateReader

T = TypeVar("T")

_DROP = f"SELECT {CATALOGUE}.drop_run(%s)"
_LOCK = "SELECT 1 FROM target FOR UPDATE"


class Databases(BackEnd):
    """The runs of PostgreSQL databases."""

    def create(self, ref: StoreRef) -> AbstractContextManager[Builder]:
        return load.loading(_path(ref))

    def open_for_work(self, ref: StoreRef, *, now: Callable[[], float]) -> PostgresStore:
        return PostgresStore.open(_path(ref), now=now)

    def read(self, ref: StoreRef) -> StateReader:
        return StateReader(_path(ref))

    def beside(self, ref: StoreRef) -> list[StoreRef]:
        return [*other_runs.others_of(_path(ref))]

    def companion(self, ref: StoreRef, suffix: str) -> Path:
        return Path(f"{_path(ref).run_name}{suffix}")

    def forget(self, ref: StoreRef) -> bool:
        path = _path(ref)

        def drop(connection: RunConnection) -> bool:
            db = cast(sqlite3.Connection, connection)
            connection.raw.execute(_LOCK)
            if files.holder(db) is not None or db.execute(files.TRIED).fetchone()[0]:
                return False
            connection.raw.execute(_DROP, (path.run_name,))
            return True

        return _in_transaction(path, drop)

    def is_untried(self, ref: StoreRef) -> bool:
        return files.is_untried(_path(ref))

    def compare(self, ref: StoreRef, fresh: Path) -> Differences:
        return _take_in(_path(ref), fresh, is_kept=False)

    def update(self, ref: StoreRef, fresh: Path) -> Differences:
        return _take_in(_path(ref), fresh, is_kept=True)

    def note_end(self, ref: StoreRef, end: ProcessEnd) -> None:
        def note(connection: RunConnection) -> None:
            connection.execute(lease.ADD_END, msgspec.structs.astuple(end))

        _in_transaction(_path(ref), note)

    def exported_images(self, ref: StoreRef, target_id: int) -> SqliteExportedImages:
        return SqliteExportedImages(_path(ref), target_id)


class _LeftAsItWas(Exception):
    """What was done is undone: it was only to be looked at."""


def _in_transaction(path: DatabasePath, work: Callable[[RunConnection], T]) -> T:
    """What `work` gives, in one transaction. Raises StateError."""
    connection = RunConnection(path, for_work=True)
    try:
        with connection.raw.transaction():
            return work(connection)
    except driver().Error as error:
        raise translated(error, path, "write it") from error
    finally:
        connection.close()


def _take_in(path: DatabasePath, fresh: Path, *, is_kept: bool) -> Differences:
    """How the list in the state file `fresh` differs from the run, which is brought to it where `is_kept`.

    The list is loaded into a namespace beside the run's, which goes before the transaction ends.
    """
    found: list[Differences] = []

    def look(connection: RunConnection) -> None:
        db = cast(sqlite3.Connection, connection)
        here = connection.namespace
        beside = f"fresh-{uuid.uuid4().hex}"
        connection.raw.execute(_LOCK)
        if is_kept and (owner := files.holder(db)) is not None:
            raise StateInUseError(
                f"the list has changed, but the run is in use by {owner}",
                hint="wait for it to end, or stop it, then run the same command again",
            )
        # A million rows are compared at once: by an index, one by one, that would take minutes.
        connection.raw.execute("SET LOCAL enable_seqscan = on")
        connection.raw.execute("SET LOCAL enable_hashjoin = on")
        with closing(open_for_reading(fresh)) as source:
            place = load.copy_tables(source, connection.raw, beside)
        connection.raw.execute("SELECT set_config('search_path', %s, true)", (here,))
        connection.attached = {"fresh": place}
        found.append(list_changes.look(db))
        if is_kept:
            list_changes.apply(db)
        connection.raw.execute(_DROP, (beside,))
        if not is_kept:
            raise _LeftAsItWas

    with suppress(_LeftAsItWas):
        _in_transaction(path, look)
    return found[0]


def _path(ref: StoreRef) -> DatabasePath:
    assert isinstance(ref, DatabasePath)
    return ref


DATABASES = Databases()
