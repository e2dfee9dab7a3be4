"""A connection to one run in a database, which takes the statements of a state file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from batchexport.errors import StateError, StateVersionError
from batchexport.store.postgres import sql
from batchexport.store.postgres.address import connect, driver
from batchexport.store.postgres.postgres_errors import is_lost, translated
from batchexport.store.postgres.reference import DatabasePath

if TYPE_CHECKING:
    import psycopg

#: Of the tables of a database, and of each run in it.
VERSION = 2
#: Where the list of runs is.
CATALOGUE = "batchexport"
#: The channel on which workers hear that there is something to do.
NEWS = "batchexport"

_VERSION = f"SELECT version, oldest_program FROM {CATALOGUE}.version ORDER BY version DESC LIMIT 1"
_SCHEMA_OF = f"SELECT schema_name FROM {CATALOGUE}.run WHERE run_name = %s"
_ALL_PLACES = "SELECT set_config('search_path', %s, false)"

# A worker only ever looks for rows by an index. Where statistics are out of date, as after a million rows
# were loaded, the planner would read whole tables. What stands still is undone, so that others can go on.
FOR_WORK = (
    "SET synchronous_commit = on",
    "SET idle_in_transaction_session_timeout = '10s'",
    "SET lock_timeout = '15s'",
    "SET statement_timeout = '60s'",
    "SET plan_cache_mode = force_custom_plan",
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET jit = off",
)
_FOR_READING = ("SET statement_timeout = '5min'", "SET jit = off")

_READS = ("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK TO")


class Rows:
    """What a statement gave, as a cursor of sqlite3 tells it."""

    def __init__(
        self, rows: list[tuple[Any, ...]], rowcount: int, last_id: Callable[[], int] | None = None
    ) -> None:
        self._rows = iter(rows)
        self._last_id = last_id
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, or None."""
        return next(self._rows, None)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows that are left."""
        return list(self._rows)

    @property
    def lastrowid(self) -> int | None:
        """The number that the inserted row got."""
        return None if self._last_id is None else self._last_id()


class RunConnection:
    """A connection to one run, for one thread at a time. It stands where one of sqlite3 does.

    For reading, every statement is a transaction of its own, a lost connection is made anew, and what the
    database refuses is raised as StateError. For work, errors are those of psycopg.
    """

    def __init__(self, path: DatabasePath, *, for_work: bool) -> None:
        """Raises StateError where there is no such run."""
        self.path = path
        self.wrote = False  #: since `begin`
        self.namespace = ""  #: of the run's tables
        self.attached: dict[str, str] = {}  #: other namespaces, by the names that statements have for them
        self._for_work = for_work
        self._errors: type[psycopg.Error] = driver().Error
        self._db: psycopg.Connection[tuple[Any, ...]] | None = None
        try:
            self.reconnect()
        except self._errors as error:
            raise translated(error, path, "open it") from error

    def reconnect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A new connection in the place of a lost one. Raises psycopg.Error."""
        self.close()
        attrs = {"target_session_attrs": "read-write"} if self._for_work else {}
        db = connect(self.path, **attrs)
        try:
            self.namespace = _prepare(db, self.path, FOR_WORK if self._for_work else _FOR_READING)
        except BaseException:
            db.close()
            raise
        self._db = db
        return db

    def close(self) -> None:
        """Let go of it."""
        if self._db is not None:
            with suppress(self._errors):
                self._db.close()
        self._db = None

    @property
    def opened(self) -> psycopg.Connection[tuple[Any, ...]] | None:
        """The connection as it is, lost or not; None = there is none."""
        return self._db

    @property
    def raw(self) -> psycopg.Connection[tuple[Any, ...]]:
        """The connection itself, made anew where it was lost."""
        if self._db is None or self._db.closed or self._db.broken:
            return self.reconnect()
        return self._db

    def execute(self, statement: str, values: Sequence[object] | Mapping[str, object] = ()) -> Rows:
        """Execute one statement of the state file."""
        text = sql.translated(statement)
        if not text:
            return Rows([], 0)
        self._note(text)
        return self._run(text, _adapted_line(values, is_numbered=sql.is_numbered(statement)))

    def executemany(self, statement: str, lines: Iterable[Sequence[object] | Mapping[str, object]]) -> None:
        """Execute one statement for each line of values."""
        text = sql.translated(statement)
        if not text:
            return
        self._note(text)
        with self._current().cursor() as cursor:
            is_numbered = sql.is_numbered(statement)
            cursor.executemany(text, [_adapted_line(line, is_numbered=is_numbered) for line in lines])

    def execute_bulk(
        self, form: str, fields: tuple[str, ...], lines: Sequence[Sequence[object]], *values: object
    ) -> int:
        """Execute a statement of `changes` for all lines of its table `given`; how many rows it changed."""
        self.wrote = True
        columns = [[adapted(value) for value in column] for column in zip(*lines, strict=True)]
        typed = [sql.as_type(field, column) for field, column in zip(fields, columns, strict=True)]
        return self._run(sql.bulk(form, fields), [*typed, *map(adapted, values)]).rowcount

    def _note(self, text: str) -> None:
        self.wrote = self.wrote or not text.lstrip().startswith(_READS)

    def _run(self, text: str, values: object) -> Rows:
        for name, place in self.attached.items():
            text = text.replace(f"{name}.", f"{place}.")
        if self._for_work:
            return self._execute(text, values)
        try:
            try:
                return self._execute(text, values)
            except self._errors as error:
                if not is_lost(error):
                    raise
                self.reconnect()
                return self._execute(text, values)
        except self._errors as error:
            raise translated(error, self.path, "read it") from error

    def _execute(self, text: str, values: Any) -> Rows:
        cursor = self._current().execute(text, values)
        if cursor.description is not None:
            return Rows(cursor.fetchall(), cursor.rowcount)
        return Rows([], cursor.rowcount, self._last_id)

    def _current(self) -> psycopg.Connection[tuple[Any, ...]]:
        """The connection for a statement. Work goes on with the one that its transaction began on, or not at
        all: on a new one each statement would count by itself.
        """
        return self._db if self._for_work and self._db is not None else self.raw

    def _last_id(self) -> int:
        return int(self._execute("SELECT lastval()", ()).fetchall()[0][0])


def open_run(path: DatabasePath, *, for_work: bool) -> sqlite3.Connection:
    """A connection to the run, to be used as one to a state file."""
    return cast(sqlite3.Connection, RunConnection(path, for_work=for_work))


@contextmanager
def catalogue(path: DatabasePath, *, doing: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection to the database for a moment. What it refuses is raised as StateError."""
    errors = driver().Error
    try:
        with connect(path) as db:
            yield db
    except errors as error:
        raise translated(error, path, doing) from error


def check_version(db: psycopg.Connection[tuple[Any, ...]], path: DatabasePath) -> None:
    """Raise StateVersionError where this program does not work with the tables that are there.

    Each format tells the oldest program that works with it: old and new ones work side by side for a while.
    """
    errors = driver().errors
    try:
        row = db.execute(_VERSION).fetchone()
    except (errors.UndefinedTable, errors.InvalidSchemaName) as error:
        raise StateVersionError(
            f"{path.database}: the database is not prepared for batchexport",
            hint=f"as its owner: batchexport db init {path.database}",
        ) from error
    found, oldest_program = row or (0, 0)
    if oldest_program <= VERSION <= found:
        return
    is_older = found < VERSION
    raise StateVersionError(
        f"{path.database}: its tables are of format {found}, this batchexport knows {VERSION}",
        hint=f"as its owner: batchexport db upgrade {path.database}" if is_older else "use the newer version",
    )


def _prepare(db: psycopg.Connection[tuple[Any, ...]], path: DatabasePath, settings: Sequence[str]) -> str:
    """Settle on the tables of the run, whose namespace is returned."""
    from psycopg.types.numeric import IntLoader

    db.adapters.register_loader("numeric", IntLoader)  # sums of whole numbers
    check_version(db, path)
    row = db.execute(_SCHEMA_OF, (path.run_name,)).fetchone()
    if row is None:
        raise StateError(
            f"{path}: no such run", hint=f"`batchexport status {path.database}` lists those that are there"
        )
    db.execute(_ALL_PLACES, (f'"{row[0]}"',))
    for setting in settings:
        db.execute(setting)
    return str(row[0])


def adapted(value: object) -> object:
    """A value that the database takes as SQLite would: no truth, no enumeration, no character 0 in texts."""
    if isinstance(value, str):
        return str(value).replace("\0", "\ufffd") if "\0" in value else str(value)
    return int(value) if isinstance(value, bool) else value


def _adapted_line(
    line: Sequence[object] | Mapping[str, object], *, is_numbered: bool
) -> list[object] | dict[str, object]:
    if isinstance(line, Mapping):
        return {name: adapted(value) for name, value in line.items()}
    if is_numbered:
        return {f"p{place}": adapted(value) for place, value in enumerate(line, start=1)}
    return [adapted(value) for value in line]
