"""A mark that tells the main file of a state file from the whole: it is whole only with the log beside it.

While somebody works, what was written last is in `x.state-wal`. Whoever copies or mounts `x.state` alone
has a file that looks sound and knows less. So the main file says that there is more, and the log that this is
all: the mark reads 1 in the main file alone, and 2 through the log, which any tool may bring into it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

_TABLE = "CREATE TABLE IF NOT EXISTS log_mark (mark INTEGER NOT NULL) STRICT"
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'log_mark'"
_MORE_IN_LOG, _READ_FROM_LOG = 1, 2
#: Bytes 18 and 19 of a file in write-ahead mode.
_WRITE_AHEAD = b"\x02\x02"


def checkpoint(db: sqlite3.Connection) -> None:
    """Bring what the log holds into the main file, which says of itself that there is more to come.

    Where the disk or a reader hinders it, the next one makes up for it.
    """
    with suppress(sqlite3.Error):
        _set(db, _MORE_IN_LOG)
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    with suppress(sqlite3.Error):
        _set(db, _READ_FROM_LOG)


def clear(db: sqlite3.Connection) -> None:
    """Nobody works any more: inside a transaction, the mark goes with the last who leaves."""
    if db.execute(_IS_THERE).fetchone():
        db.execute("DELETE FROM log_mark")


def log_of(path: Path) -> Path:
    """Where SQLite keeps the log of a file that no link leads to."""
    return path.with_name(path.name + "-wal")


def is_without_log(path: Path, header: bytes) -> bool:
    """Whether this is the main file of a state file whose log was left behind. Touches nothing.

    `path` leads through no links. Asked before the file is opened, which would make a log.
    """
    log = log_of(path)
    if header[18:20] != _WRITE_AHEAD or (log.exists() and log.stat().st_size > 0):
        return False
    # Immutable: read as it is, without the log and without a lock.
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as db,
    ):
        if db.execute(_IS_THERE).fetchone():
            return bool(db.execute("SELECT 1 FROM log_mark WHERE mark = ?", (_MORE_IN_LOG,)).fetchone())
    return False


def _set(db: sqlite3.Connection, mark: int) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(_TABLE)
        db.execute("DELETE FROM log_mark")
        db.execute("INSERT INTO log_mark (mark) VALUES (?)", (mark,))
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
