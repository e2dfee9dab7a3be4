"""State files of runs that never got as far as their first request: nothing would be lost with them."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from batchexport.errors import StateError
from batchexport.store.faults import reading
from batchexport.store.lease import owner_from
from batchexport.store.opening import open_for_reading, open_for_work
from batchexport.store.owner import Owner, is_alive, this_process

_TRIED = """
    SELECT EXISTS (SELECT 1 FROM attempt)
    OR EXISTS (SELECT 1 FROM server WHERE state <> 'untouched')  -- it may be stopped: only this file knows
    OR EXISTS (
        SELECT 1 FROM job WHERE state <> 'pending' OR attempt > 0 OR first_intent_at IS NOT NULL)"""
_OWNERS = "SELECT owner, lease_until FROM target WHERE owner IS NOT NULL"


def is_untried(path: Path) -> bool:
    """Whether no row of the state file was ever tried, and no server stopped for one."""
    with closing(open_for_reading(path)) as db, reading(path):
        return not db.execute(_TRIED).fetchone()[0]


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
    if holder(db) is not None or db.execute(_TRIED).fetchone()[0]:
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
