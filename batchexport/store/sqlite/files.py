"""State files as such: never tried, damaged, ended, beside each other in a folder, or writable no more."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from batchexport.errors import StateError
from batchexport.store.owner import Owner, is_alive, this_process
from batchexport.store.port import LEASE_S
from batchexport.store.records import Elsewhere, LeftOver
from batchexport.store.sqlite import resources
from batchexport.store.sqlite.connection import open_for_reading, open_for_work
from batchexport.store.sqlite.lease import Lease, owner_from
from batchexport.store.sqlite.schema import IS_OUTSTANDING
from batchexport.store.sqlite.sqlite_errors import reading

TRIED = """
    SELECT EXISTS (SELECT 1 FROM operation)
    OR EXISTS (SELECT 1 FROM resource WHERE state <> 'idle')  -- it may be stopped: only this file knows
    OR EXISTS (
        SELECT 1 FROM job WHERE state <> 'pending' OR attempt > 0 OR first_intent_at IS NOT NULL)"""
_OWNERS = "SELECT owner, lease_until FROM target WHERE owner IS NOT NULL"


def is_untried(path: Path) -> bool:
    """Whether no row of the state file was ever tried, and no server stopped for one."""
    with closing(open_for_reading(path)) as db, reading(path):
        return not db.execute(TRIED).fetchone()[0]


def discard_untried(path: Path) -> bool:
    """Remove a state file no row of which was ever tried; False = it is kept, or somebody has it open."""
    try:
        db = open_for_work(path)
    except StateError:
        return False
    try:
        return _discard(db, path)
    except sqlite3.Error:  # another process has it open, or it cannot be written
        return False
    finally:
        db.close()


def _discard(db: sqlite3.Connection, path: Path) -> bool:
    db.execute("PRAGMA busy_timeout=500")
    db.execute("PRAGMA foreign_keys=OFF")
    # Only who is alone with the file can change this, and with it go the files beside it, which must not
    # be taken for those of the next state file of this name.
    if db.execute("PRAGMA journal_mode=MEMORY").fetchone() != ("memory",):
        return False
    db.execute("BEGIN EXCLUSIVE")
    if holder(db) is not None or db.execute(TRIED).fetchone()[0]:
        db.execute("ROLLBACK")
        return False
    # Whoever opened it a moment ago would go on with a file without a name: it finds nothing to do there.
    db.execute("DELETE FROM run")
    db.execute("DELETE FROM target")
    path.unlink()
    db.execute("COMMIT")
    return True


def holder(db: sqlite3.Connection) -> Owner | None:
    """Who may be at work on the file; None = nobody is."""
    now = time.time()
    here = this_process(now=now)
    for text, lease_until in db.execute(_OWNERS).fetchall():
        owner = owner_from(text)
        if owner is not None and lease_until > now and is_alive(owner, here=here) is not False:
            return owner
    return None


log = logging.getLogger(__name__)

#: So many of the files that changed last are looked at: a folder of nights keeps hundreds.
MAX_FILES = 100

_STOPPED = f"""
    SELECT subject_id, owner, lease_until, (SELECT run_id FROM run)
    FROM resource JOIN target USING (target_id)
    WHERE kind = 'server' AND {IS_OUTSTANDING}"""


def down_elsewhere(path: Path) -> dict[str, Elsewhere]:
    """The servers that other state files (`*.state`) beside `path` have stopped and not yet started, by id.

    Files that cannot be read are passed over: nothing is known of them.
    """
    found: dict[str, Elsewhere] = {}
    for other in _others(path):
        try:
            for server_id, elsewhere in _stopped_by(other):
                if server_id not in found or elsewhere.is_working:
                    found[server_id] = elsewhere
        except (StateError, sqlite3.Error, OSError) as error:
            extra = {"action": "state_unreadable", "path": str(other)}
            log.debug("%s was passed over: %s", other, error, extra=extra)
    return found


def _others(path: Path) -> list[Path]:
    own = path.resolve()
    dated: list[tuple[float, Path]] = []
    for other in path.resolve().parent.glob("*.state"):
        try:
            if other.resolve() != own and other.is_file():
                dated.append((other.stat().st_mtime, other))
        except OSError:
            continue
    return [other for _, other in sorted(dated, reverse=True)[:MAX_FILES]]


def _stopped_by(path: Path) -> list[tuple[str, Elsewhere]]:
    now = time.time()
    here = this_process(now=now)
    with closing(open_for_reading(path)) as db:
        rows = db.execute(_STOPPED).fetchall()
    stopped = []
    for server_id, text, lease_until, run_id in rows:
        owner = owner_from(text)
        alive = False if owner is None else is_alive(owner, here=here)
        is_working = lease_until + LEASE_S > now if alive is None else alive
        stopped.append((server_id, Elsewhere(path=path, run_id=run_id, is_working=is_working)))
    return stopped


def left_over(path: Path, held: Lease, kinds: Collection[str]) -> LeftOver | None:
    """The outstanding resources of these kinds; None where another process has taken the target over.

    Raises StateError where the file cannot be read either.
    """
    with closing(open_for_reading(path)) as db, reading(path):
        (epoch,) = db.execute("SELECT epoch FROM target WHERE target_id = ?", (held.target_id,)).fetchone()
        if epoch != held.epoch:
            return None
        left = resources.outstanding(db, held.target_id, kinds)
        resource_ids = [each.resource_id for each in left]
        return LeftOver(
            resources=left,
            rows=resources.rows_of(db, held.target_id, kinds, resource_ids),
            volume_ids=resources.volumes_of(db, held.target_id, resource_ids),
        )
