"""Putting a run into a database: checked and loaded as a state file first, then copied in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchexport.errors import StateError
from batchexport.store.postgres.address import driver
from batchexport.store.postgres.connection import CATALOGUE, NEWS, catalogue, check_version
from batchexport.store.postgres.reference import DatabasePath
from batchexport.store.sqlite.connection import open_for_reading

if TYPE_CHECKING:
    import psycopg

    from batchexport.store.back_end import Builder

#: What a state file holds of which no row was tried.
_FRESH = ("run", "target", "job", "tally", "volume_name")
_COLUMNS = "SELECT name FROM pragma_table_info(?)"
_IS_THERE = f"SELECT 1 FROM {CATALOGUE}.run WHERE run_name = %s"
_COUNTED_ON = "SELECT setval(pg_get_serial_sequence(%s, %s), %s)"


@contextmanager
def loading(path: DatabasePath) -> Iterator[Builder]:
    """A builder of the run `path`, which is in the database once the block ends after `finish`, whole.

    Raises StateError where it is there already, or the database cannot be used.
    """
    from tempfile import TemporaryDirectory

    from batchexport.store.sqlite.builder import building

    if exists(path):
        raise _exists(path)
    with TemporaryDirectory(prefix="batchexport-") as folder:
        file = Path(folder) / "new.state"
        with building(file) as builder:
            yield builder
        if file.exists():
            _copy(file, path)


def exists(path: DatabasePath) -> bool:
    """Whether the run is in the database. Raises StateError where that cannot be asked."""
    with catalogue(path, doing="look for the run") as db:
        check_version(db, path)
        return db.execute(_IS_THERE, (path.run_name,)).fetchone() is not None


def _copy(file: Path, path: DatabasePath) -> None:
    errors = driver().errors
    with closing(open_for_reading(file)) as source, catalogue(path, doing="load the run") as db:
        try:
            with db.transaction():
                copy_tables(source, db, path.run_name)
                db.execute("SELECT pg_notify(%s, %s)", (NEWS, path.run_name))
        except errors.UniqueViolation as error:
            raise _exists(path) from error


def copy_tables(source: sqlite3.Connection, db: psycopg.Connection[tuple[Any, ...]], run_name: str) -> str:
    """Make the run in the open transaction, from what a new state file holds; its namespace."""
    row = db.execute(f"SELECT {CATALOGUE}.begin_run(%s)", (run_name,)).fetchone()
    assert row is not None
    db.execute("SELECT set_config('search_path', %s, true)", (row[0],))
    for table in _FRESH:
        columns = ", ".join(name for (name,) in source.execute(_COLUMNS, (table,)))
        if columns:
            with db.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as copying:
                for line in source.execute(f"SELECT {columns} FROM {table}"):
                    copying.write_row(line)
    for table, number in (("job", "job_id"), ("target", "target_id")):
        (last,) = source.execute(f"SELECT max({number}) FROM {table}").fetchone()
        if last is not None:
            db.execute(_COUNTED_ON, (table, number, last))
    db.execute(f"SELECT {CATALOGUE}.index_run(%s)", (run_name,))
    return str(row[0])


def _exists(path: DatabasePath) -> StateError:
    return StateError(f"{path}: exists already", hint="resume it, or name another run with --state")
