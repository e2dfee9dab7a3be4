"""Holding a target in a database: by its clock, which is one for all machines."""

from __future__ import annotations

import logging
import sqlite3

from batchexport.store.owner import Owner
from batchexport.store.postgres.connection import NEWS
from batchexport.store.sqlite import lease
from batchexport.store.sqlite.locks import Held

log = logging.getLogger(__name__)

_LOCK = "SELECT epoch, timeline FROM target WHERE target_id = ? FOR UPDATE"
_TELL = "SELECT pg_notify(?, ?)"
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
#: Of the history that the server writes: after a failover another one, at once.
_TIMELINE = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
_NOTE_TIMELINE = "UPDATE target SET timeline = ? WHERE target_id = ?"
# The intent of a worker that died with the old server may be missing here: by name its image is found.
_DOUBT = """
    UPDATE job SET first_intent_at = ?
    WHERE target_id = ? AND state = 'pending' AND first_intent_at IS NULL"""


def now_of(db: sqlite3.Connection) -> float:
    """Seconds since the epoch by the clock of the database."""
    return float(db.execute(_NOW).fetchone()[0])


def take(db: sqlite3.Connection, target_id: int, *, me: Owner, ttl_s: float, is_work: bool) -> int:
    """The new epoch of the target, now `me`'s. Raises StateInUseError while another owner may be at work.

    An owner on this machine that is dead is replaced at once, as in a file; of others only the lease tells.
    """
    row = db.execute(_LOCK, (target_id,)).fetchone()
    now = now_of(db)
    epoch = lease.take(db, target_id, me=me, now=now, ttl_s=ttl_s, held=Held.ALONE, is_work=is_work)
    (timeline,) = db.execute(_TIMELINE).fetchone()
    if row is not None and row[1] != timeline:
        if row[1] is not None:
            doubtful = db.execute(_DOUBT, (now - ttl_s, target_id)).rowcount
            log.warning(
                "the database has another history than when target %d was last worked on (%s, now %s),"
                " as after a failover: the images of its %d pending volumes are looked for by name before"
                " anything is sent",
                target_id,
                row[1],
                timeline,
                doubtful,
                extra={"action": "history_changed", "target_id": target_id, "rows": doubtful},
            )
        db.execute(_NOTE_TIMELINE, (timeline, target_id))
    return epoch


def renew(db: sqlite3.Connection, target_id: int, *, ttl_s: float) -> None:
    """Put off the end of the lease; that it is still ours was checked by the transaction."""
    lease.renew(db, target_id, now=now_of(db), ttl_s=ttl_s)


def release(db: sqlite3.Connection, target_id: int) -> None:
    """Leave the target to whoever comes next, who hears of it at once."""
    lease.release(db, target_id, now=now_of(db))
    db.execute(_TELL, (NEWS, "free"))
