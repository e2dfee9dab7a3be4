"""SQLite's errors in the words of this program: the one place where they are translated."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchexport.errors import StateCorruptError, StateError, StateInUseError, StateWriteError

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG})
_UNWRITABLE = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
)
#: What a file system lacks where SQLite fails so: networks and bridges to other systems have less.
_LACKING = {
    sqlite3.SQLITE_IOERR_SHMOPEN: "memory that processes can share (mmap)",
    sqlite3.SQLITE_IOERR_SHMSIZE: "memory that processes can share (mmap)",
    sqlite3.SQLITE_IOERR_SHMMAP: "memory that processes can share (mmap)",
    sqlite3.SQLITE_IOERR_SHMLOCK: "locks",
    sqlite3.SQLITE_IOERR_LOCK: "locks",
    sqlite3.SQLITE_IOERR_RDLOCK: "locks",
    sqlite3.SQLITE_PROTOCOL: "locks",
}
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def translated(error: sqlite3.Error, path: Path, doing: str) -> StateError:
    """The error to raise instead, for state file `path`; `doing` completes "cannot …"."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bits only refine
    message = f"{path}: cannot {doing}: {error}"
    if code in _DAMAGED or _speaks_of_damage(error, code):
        return damaged(path, str(error))
    if (lacks := _LACKING.get(getattr(error, "sqlite_errorcode", 0))) is not None:
        return StateWriteError(
            f"{path}: the file system of its folder has no {lacks} ({error}), and a state file needs it",
            hint="name a place on a local disk with --state",
        )
    if code in _UNWRITABLE:
        return StateWriteError(
            message,
            hint="make room on the disk and see that it is writable, then run the same command again:"
            " what the file holds is whole, and anything sent since is looked up in the cloud first",
        )
    if code in _BUSY:
        return StateInUseError(message, hint="another process holds the file: wait for it, or stop it")
    return StateError(message)


def _speaks_of_damage(error: sqlite3.Error, code: int) -> bool:
    """Whether a table, a column or a text is not what we wrote, which has no code of its own."""
    if code not in (0, sqlite3.SQLITE_ERROR) or not isinstance(error, sqlite3.OperationalError):
        return False
    return str(error).startswith(("no such ", "Could not decode"))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What SQLite refuses inside the block is raised as a StateError."""
    try:
        yield
    except sqlite3.Error as error:
        raise translated(error, path, "write it") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What SQLite or a value that we never wrote breaks inside the block is raised as a StateError."""
    try:
        yield
    except sqlite3.Error as error:
        raise translated(error, path, "read it") from error
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise damaged(path, f"what it holds was never written ({error})") from error


def damaged(path: Path, why: str) -> StateCorruptError:
    """The error for a file that is no whole state file."""
    return StateCorruptError(
        f"{path}: not a whole state file: {why}",
        hint="the file was left as it is; restore it from a copy, or name another one with --state"
        " (a new state file knows nothing of the images that this one started)",
    )


def repeated(error: StateError) -> StateError:
    """The same error anew, for every further caller that meets it."""
    return type(error)(str(error), hint=error.hint)
