"""Making a state file from checked rows: loaded beside its place, moved there only when it is whole."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import astuple, replace

from batchexport.errors import StateError, StateWriteError
from batchexport.model import NO_OPTIONS, InUse, JobRow, JobRows, JobState, TargetKey
from batchexport.store.back_end import Builder
from batchexport.store.records import Duplicate, RunRecord
from batchexport.store.sqlite import labels, schema, values
from batchexport.store.sqlite.connection import require_sqlite, sweep
from batchexport.store.sqlite.locks import check_place, lock
from batchexport.store.sqlite.sqlite_errors import writing
from batchexport.store.sqlite.uniqueness import Distinct, marks_of_ids, marks_of_texts

#: Rows handed to SQLite at once: enough to hide the cost of the call, few enough to stay small.
_BATCH = 256
_COLUMNS = "target_id, options, line, volume_id, image_name"
_INSERT = f"INSERT INTO job ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)"

_NOTE_PRIORITIES = f"UPDATE job SET priority = {schema.PRIORITY_OF_OPTIONS} WHERE options IS NOT NULL"

#: Values that several rows share, with the first line of each. Rows that repeat a whole volume repeat its
#: image name as well, which is told once: as the volume.
_SHARED = {
    "volume_id": "count(*) > 1",
    "image_name": "count(DISTINCT volume_id) > 1",
}


@contextmanager
def building(path: Path) -> Iterator[Builder]:
    """A builder of the state file `path`, which is there after `finish`; without it nothing is left.

    Raises StateError where `path` exists already, StateWriteError where the disk is full.
    """
    require_sqlite()
    if path.exists():
        raise _exists(path)
    if path.is_symlink():
        raise StateError(
            f"{path}: is a link that leads nowhere", hint="remove it, or name another file with --state"
        )
    check_place(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        sweep(path)
        # Held to the end: the lock tells other builders that this file is not abandoned.
        file = os.fdopen(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "rb")
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        lock(file.fileno(), path)
        with writing(path):
            builder = SqliteBuilder(path, temporary, file)
            try:
                yield builder
            finally:
                builder.close()
    finally:
        temporary.unlink(missing_ok=True)
        file.close()


class SqliteBuilder(Builder):
    """Takes the rows of a list one by one; memory does not grow with them."""

    def __init__(self, path: Path, temporary: Path, file: BinaryIO) -> None:
        self._path = path
        self._temporary = temporary
        self._file = file
        self._rows: list[tuple[int, str | None, int, str, str]] = []
        self._names: list[tuple[int, str, str]] = []
        self._count = 0
        self._stop_rows = 0
        self._has_priorities = False
        self._target_ids: dict[TargetKey, int] = {}
        self._rows_of: Counter[int] = Counter()
        #: By column, until it is known to be unique.
        self._distinct = {
            "volume_id": Distinct(marks_of_ids, partial(self._values, "volume_id")),
            "image_name": Distinct(marks_of_texts, partial(self._values, "image_name")),
        }
        self._db = _empty_database(temporary)

    @property
    def rows(self) -> int:
        """Rows added so far."""
        return self._count

    def add(self, row: JobRow, image_name: str) -> None:
        """Take one row; its job id is its place in the order of adding, from 1."""
        self._count += 1
        target_id, text = self._shared_by(row, 1)
        self._rows.append((target_id, text, row.line, row.volume_id, image_name))
        if row.volume_name:
            self._names.append((target_id, row.volume_id, row.volume_name))
        if len(self._rows) >= _BATCH:
            self._load()

    def add_all(self, rows: JobRows, image_names: Sequence[str]) -> None:
        """Take rows in their order, each with its image name."""
        self._load()
        self._count += len(rows)
        shared = self._shared_by(rows, len(rows))
        self._note(rows.volume_ids, image_names)
        if named := labels.given_names(rows.volume_ids, rows.volume_names):
            labels.add_names(self._db, [(shared[0], *each) for each in named])
        start = 0
        for size in _sizes(len(rows)):
            end = start + size
            values = (*shared, rows.first_line + start, *rows.volume_ids[start:end], *image_names[start:end])
            self._db.execute(_insert_many(size), values)
            start = end

    def duplicates(self, limit: int) -> list[Duplicate]:
        """Volumes and image names that rows of one target share, by their first lines, at most `limit`.

        To be asked when the last row was added.
        """
        self._load()
        found = [
            duplicate
            for field in schema.UNIQUE_INDEXES
            if not self._is_unique(field)
            for duplicate in self._shared(field, limit)
        ]
        return sorted(found, key=lambda duplicate: duplicate.lines)[:limit]

    def finish(self, run: RunRecord) -> None:
        """Put the whole file in its place, on disk. Raises StateError if there is one by now."""
        if run.rows != self._count:
            raise StateError(f"{self._path}: {self._count} rows were added, but the run counts {run.rows}")
        self._load()
        for field in schema.UNIQUE_INDEXES:
            if not self._is_unique(field):
                raise StateError(f"{self._path}: rows of one target share their {field}")
        self._conclude(run)
        self.close()
        try:
            os.fsync(self._file.fileno())
            # A link, not a rename: of two builders only one can win, and a run begun is never replaced.
            os.link(self._temporary, self._path)
            _sync_directory(self._path.parent)
            # Closed before anyone opens the state file: closing it later would drop SQLite's locks on it.
            self._file.close()
        except FileExistsError as error:
            raise _exists(self._path) from error
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def close(self) -> None:
        """Let go of the database; the file stays."""
        self._db.close()

    def _shared_by(self, given: JobRow | JobRows, rows: int) -> tuple[int, str | None]:
        """The id of the target, and the text of the options; the rows are counted."""
        target_id = self._target_ids.get(given.target)
        if target_id is None:
            target_id = self._new_target(given.target)
        self._rows_of[target_id] += rows
        self._stop_rows += rows * (given.options.in_use is InUse.STOP)
        self._has_priorities = self._has_priorities or given.options.priority is not None
        return target_id, None if given.options is NO_OPTIONS else values.options_to_text(given.options)

    def _new_target(self, key: TargetKey) -> int:
        target_id = self._target_ids[key] = len(self._target_ids) + 1
        self._db.execute(
            "INSERT INTO target (target_id, cloud, region, project) VALUES (?, ?, ?, ?)", (target_id, *key)
        )
        return target_id

    def _load(self) -> None:
        if self._rows:
            self._note([row[-2] for row in self._rows], [row[-1] for row in self._rows])
            self._db.executemany(_INSERT, self._rows)
            self._rows.clear()
        if self._names:
            labels.add_names(self._db, self._names)
            self._names.clear()

    def _note(self, volume_ids: Sequence[str], image_names: Sequence[str]) -> None:
        self._distinct["volume_id"].add(volume_ids)
        self._distinct["image_name"].add(image_names)

    def _values(self, field: str) -> Iterator[str]:
        return (value for (value,) in self._db.execute(f"SELECT {field} FROM job"))

    def _is_unique(self, field: str) -> bool:
        if field in self._distinct:
            # Over all targets: where two share a value, or hashes alone are alike, the index tells.
            if not self._distinct[field].are_surely():
                try:
                    self._db.execute(schema.UNIQUE_INDEXES[field])
                except sqlite3.IntegrityError:
                    return False
            del self._distinct[field]
        return True

    def _shared(self, field: str, limit: int) -> Iterator[Duplicate]:
        self._db.execute(f"CREATE INDEX IF NOT EXISTS shared_{field} ON job (target_id, {field}, line)")
        keys = {target_id: key for key, target_id in self._target_ids.items()}
        values = self._db.execute(
            f"SELECT target_id, {field} FROM job GROUP BY target_id, {field} HAVING {_SHARED[field]}"
            " ORDER BY min(line) LIMIT ?",
            (limit,),
        ).fetchall()
        for target_id, value in values:
            lines = self._db.execute(
                f"SELECT line FROM job WHERE target_id = ? AND {field} = ? ORDER BY line", (target_id, value)
            )
            yield Duplicate(
                field=field, value=value, lines=tuple(line for (line,) in lines), target=keys[target_id]
            )

    def _conclude(self, run: RunRecord) -> None:
        db = self._db
        if self._has_priorities:
            db.execute(_NOTE_PRIORITIES)
        values = astuple(replace(run, stop_rows=self._stop_rows))
        db.execute(f"INSERT INTO run ({schema.RUN_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)
        for state in JobState:
            db.execute("INSERT INTO tally (target_id, state) SELECT target_id, ? FROM target", (state,))
        rows_of = [(rows, target_id) for target_id, rows in self._rows_of.items()]
        db.executemany("UPDATE tally SET jobs = ? WHERE target_id = ? AND state = 'pending'", rows_of)
        db.execute(f"PRAGMA user_version = {schema.VERSION}")
        db.execute("COMMIT")


def _sizes(rows: int) -> Iterator[int]:
    """So many rows in parts of a few sizes, powers of two: statements are prepared once for all of them."""
    while rows:
        size = min(_BATCH, 1 << (rows.bit_length() - 1))
        yield size
        rows -= size


@lru_cache
def _insert_many(rows: int) -> str:
    """The statement for lines one after the other: what they share, the first line, ids, then names.

    It costs a third less than `executemany`, which starts a statement for every row.
    """
    first_id, first_name = 4, 4 + rows
    values = ", ".join(f"(?1, ?2, ?3 + {row}, ?{first_id + row}, ?{first_name + row})" for row in range(rows))
    return f"INSERT INTO job ({_COLUMNS}) VALUES {values}"


def _empty_database(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        # Nothing of this file outlives a crash, so nothing is synchronised before `finish`. The journal is in
        # memory and not off, for an index that turns out not to be unique must leave the rows readable.
        db.execute("PRAGMA journal_mode=MEMORY")
        db.execute("PRAGMA synchronous=OFF")
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA cache_size=-4096")
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.execute("BEGIN")
        for statement in (*schema.TABLES, *schema.INDEXES):
            db.execute(statement)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _exists(path: Path) -> StateError:
    return StateError(f"{path}: exists already", hint="resume it, or name another file with --state")


def _unwritable(path: Path, error: OSError) -> StateWriteError:
    if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS) and error.filename2:
        return StateWriteError(
            f"{path}: the file system of its folder has no hard links ({error.strerror}), and a state file"
            " is put in its place by one; nothing was started",
            hint="name a place on a local disk with --state",
        )
    return StateWriteError(
        f"{path}: cannot write it: {error.strerror}",
        hint="name a place that can be written, with --state; nothing was started",
    )


def _sync_directory(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
