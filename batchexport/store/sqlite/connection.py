"""Opening a state file: everything that is checked before a byte of it is changed."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from batchexport.errors import StateCorruptError, StateError, StateInUseError, StateVersionError
from batchexport.store.postgres.reference import DatabasePath
from batchexport.store.sqlite import migrations, schema
from batchexport.store.sqlite.locks import inode_of, lock
from batchexport.store.sqlite.log_mark import is_without_log, log_of
from batchexport.store.sqlite.schema import check_own, distrust
from batchexport.store.sqlite.sqlite_errors import damaged, translated

log = logging.getLogger(__name__)

#: STRICT tables came with it.
OLDEST_SQLITE = (3, 37, 0)

#: How long to wait for another process's transaction.
BUSY_TIMEOUT_S = 10.0

#: SQLite's codes where it may not make the files that it needs beside a state file.
_NO_PLACE_BESIDE = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})

_HEADER_BYTES = 100
#: Up to here, reading every page costs a few milliseconds: some 3,000 rows.
_SMALL_BYTES = 1_048_576
_MAGIC = b"SQLite format 3\0"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class WorkConnection(sqlite3.Connection):
    """A connection that may write. While it is open, nobody in this process opens and closes its file beside
    SQLite: with any descriptor that is closed, the kernel drops the locks of this process on the file.
    """

    inode: tuple[int, int] | None = None

    def close(self) -> None:
        """Close it; its file may be opened beside SQLite again."""
        super().close()
        if self.inode in _AT_WORK:
            _AT_WORK.remove(self.inode)


#: The files that connections of this process work on.
_AT_WORK: list[tuple[int, int]] = []


def require_sqlite(found: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Nothing, or StateError where the SQLite of this Python is too old."""
    if found < OLDEST_SQLITE:
        need, have = (".".join(map(str, version)) for version in (OLDEST_SQLITE, found))
        raise StateError(
            f"SQLite {need} or newer is needed; this Python comes with {have}",
            hint="use a newer Python, or one that is linked to a newer SQLite",
        )


def open_for_work(path: Path) -> sqlite3.Connection:
    """A connection that may write, for use by one thread at a time; to a file in write-ahead mode."""
    if isinstance(path, DatabasePath):
        from batchexport.store.postgres.connection import open_run

        return open_run(path, for_work=True)
    with _opened(path, mode="rw") as db:
        _check_whole(db, path)
        if _version(db, path) < schema.VERSION:
            migrations.migrate(db, to=schema.VERSION)
            check_own(db, path)
        # Synchronous FULL: a lost commit could mean a second image. The cache: random updates of a large
        # file are five times slower with the default of 2 MB.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("PRAGMA cache_size=-16384")
        db.execute("PRAGMA wal_autocheckpoint=0")  # the writer does it, for the main file must say so
    return db


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Works beside the process that does."""
    if isinstance(path, DatabasePath):
        from batchexport.store.postgres.connection import open_run

        return open_run(path, for_work=False)
    try:
        return _open_read_only(path)
    except StateError as error:
        code = getattr(error.__cause__, "sqlite_errorcode", 0)
        if code & 0xFF in _NO_PLACE_BESIDE and not _is_writable(path.parent):
            return _open_copy(path)
        if code != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
    # A process was killed over a change of the journal's mode. Whoever may write undoes it by looking.
    with _opened(path, mode="rw") as db:
        db.execute("SELECT 1 FROM run").fetchone()
    db.close()
    return _open_read_only(path)


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _open_copy(path: Path) -> sqlite3.Connection:
    """A connection to a copy in a place of our own that has no name any more.

    What a killed process left can be read only after SQLite put it in order, and here it may write nothing.
    """
    try:
        with TemporaryDirectory(prefix="batchexport-", ignore_cleanup_errors=True) as folder:
            copy = Path(folder) / "copy.state"
            shutil.copyfile(path, copy)
            for name in ("-wal", "-journal"):
                with suppress(FileNotFoundError):
                    shutil.copyfile(f"{path}{name}", f"{copy}{name}")
            with _opened(copy, mode="rw") as db:
                db.execute("PRAGMA journal_mode=DELETE")
                db.execute("PRAGMA query_only=ON")
                _check_whole(db, path)
            return db
    except (OSError, StateError) as error:
        raise StateError(
            f"{path}: cannot read it: a process was killed over it, and its folder takes no files ({error})",
            hint="copy it, and what stands beside it with -wal or -journal, to a folder that can be written",
        ) from error


def _open_read_only(path: Path) -> sqlite3.Connection:
    with _opened(path, mode="ro") as db:
        if _version(db, path) == schema.VERSION:
            _check_whole(db, path)
            return db
        try:
            return _migrated_copy(db, path)
        finally:
            db.close()


def _migrated_copy(db: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """A private copy, in the present format, of a file in an older one; it is gone with the connection."""
    copy = sqlite3.connect("", uri=True, isolation_level=None, check_same_thread=False)
    try:
        db.backup(copy)
        migrations.migrate(copy, to=schema.VERSION, is_copy=True)
        distrust(copy)
        check_own(copy, path)
        _check_whole(copy, path)
        copy.execute("PRAGMA query_only=ON")
    except BaseException:
        copy.close()
        raise
    return copy


def copy_whole(db: sqlite3.Connection, path: Path) -> None:
    """Put what a working connection sees into a new file at `path`. Errors are only logged."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        db.execute("VACUUM INTO ?", (str(temporary),))
        temporary.chmod(0o600)
        os.link(temporary, path)
    except (sqlite3.Error, OSError) as error:
        extra = {"action": "state_not_saved", "path": str(path)}
        log.error("%s could not be saved again: %s", path, error, extra=extra)
    finally:
        temporary.unlink(missing_ok=True)


def close_for_good(db: sqlite3.Connection) -> None:
    """Close a working connection, leaving one file if no other process has it open."""
    if not isinstance(db, sqlite3.Connection):  # to a database, where nothing is left behind
        db.close()
        return
    # Where this fails, for a reader or a full disk, the log stays beside the file: the next to open it
    # finds everything in there.
    with suppress(sqlite3.Error):
        db.execute("PRAGMA busy_timeout=1000")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        # Without write-ahead mode a reader needs to create nothing, so it leaves nothing behind either.
        db.execute("PRAGMA journal_mode=DELETE")
    db.close()


@contextmanager
def _opened(path: Path, *, mode: str) -> Iterator[sqlite3.Connection]:
    """A connection that is closed again if the block fails."""
    require_sqlite()
    if inode_of(path) not in _AT_WORK:
        _check_header(path)
    elif not log_of(path.resolve()).exists():
        raise _in_use_elsewhere(path)
    path = path.resolve()  # the log is beside the file that links lead to
    try:
        db = sqlite3.connect(
            f"{path.as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,  # transactions are begun and ended by us, in sight
            check_same_thread=False,
            factory=WorkConnection,
        )
        if mode == "rw":
            db.inode = inode_of(path)
            _AT_WORK.append(db.inode)
        try:
            distrust(db)
            if _version(db, path) == schema.VERSION:
                check_own(db, path)
            yield db
        except BaseException:
            db.close()
            raise
    except (sqlite3.Error, UnicodeDecodeError) as error:  # SQLite's own words on damage need not be text
        code = getattr(error, "sqlite_errorcode", None)
        if isinstance(error, UnicodeDecodeError) or code == sqlite3.SQLITE_ERROR:
            raise damaged(path, f"its tables are not as they should be ({error})") from error
        raise translated(error, path, "open it") from error


def _check_header(path: Path) -> None:
    try:
        header = _head(path)
    except FileNotFoundError as error:
        raise StateError(
            f"{path}: no such state file", hint="`batchexport run LIST` makes one from a job list"
        ) from error
    except OSError as error:
        raise StateError(f"{path}: cannot read it: {error.strerror}") from error
    if not header.startswith(_MAGIC[: len(header)]):
        raise _no_state_file(path, header)
    if len(header) < _HEADER_BYTES:
        raise damaged(path, "it is empty" if not header else "it is cut short")
    if int.from_bytes(header[68:72], "big") != schema.APPLICATION_ID:
        raise damaged(path, "it is a SQLite file of another program")
    if is_without_log(path.resolve(), header):
        raise _without_log(path)


def _in_use_elsewhere(path: Path) -> StateInUseError:
    return StateInUseError(
        f"{path}: the state file is in use through another path, and {path.name}-wal, which holds what was"
        " written last, is not beside it here",
        hint="wait for whoever works on it; a state file is mounted or linked with its whole folder",
    )


def _without_log(path: Path) -> StateError:
    """The error for a file that was taken away from its log: from its owner, where that lives."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not lock(file, path):
            return _in_use_elsewhere(path)
    finally:
        os.close(file)
    return StateError(
        f"{path}: {path.name}-wal is missing: it holds the latest changes; nothing was started",
        hint="copy it from where the run worked to this folder. If it is lost, check in the cloud what was"
        " exported since, and use another --state for a list of the rest",
    )


def _head(path: Path) -> bytes:
    """The first bytes of a regular file. A pipe is not waited for, and a device not touched."""
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind != stat.S_IFREG:
        raise StateCorruptError(f"{path}: no state file: it is {_KINDS.get(kind, 'no file')}")
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe may have taken its place
    try:
        return os.read(file, _HEADER_BYTES)
    finally:
        os.close(file)


def _no_state_file(path: Path, head: bytes) -> StateError:
    """The error for a file of another kind; a job list is the one that is given by mistake."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"[", b"{")) or b"volume" in text or b"\nid," in b"\n" + text:
        return StateCorruptError(
            f"{path}: no state file: this looks like a job list", hint=f"give it to `batchexport run {path}`"
        )
    return damaged(path, "it is no SQLite file")


def _version(db: sqlite3.Connection, path: Path) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > schema.VERSION:
        raise StateVersionError(
            f"{path}: written by a newer batchexport (format {version}, this one knows {schema.VERSION})",
            hint="use that newer version for this file",
        )
    if version < 1:
        raise damaged(path, "it was never finished")
    return version


def _check_whole(db: sqlite3.Connection, path: Path) -> None:
    """A look that costs milliseconds at any size: damage inside a large file shows when it is met."""
    (found,) = db.execute(
        "SELECT (SELECT count(*) FROM run) = 1"
        " AND (SELECT sum(job_count) FROM run) = (SELECT coalesce(sum(jobs), 0) FROM tally)"
        " AND (SELECT sum(job_count) FROM run) = (SELECT coalesce(max(job_id), 0) FROM job)"
        " AND ((SELECT sum(job_count) FROM run) = 0 OR EXISTS (SELECT 1 FROM target))"
    ).fetchone()
    if not found:
        raise damaged(path, "its tables contradict each other")
    if path.stat().st_size <= _SMALL_BYTES:
        (fault,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if fault != "ok":
            raise damaged(path, fault)


def sweep(path: Path) -> None:
    """Remove files that builders of this state file were killed over. Call it before the file is opened.

    One of them can be the state file itself under its first name; closing it would take the locks of this
    process from the file.
    """
    for left in path.parent.glob(f".{escape(path.name)}.*.new"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
