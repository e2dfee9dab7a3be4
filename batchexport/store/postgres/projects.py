"""One owner for each real project, over all runs of a database.

Lists call a project by whatever name their clouds.yaml has for it; what it is, only sign-in tells. A line for
each says which target of which run is at work on it. It has no lease of its own: it is held for as long as
that target is. Whoever takes it from a process that was not heard of in time ends that one's hold on its
target as well: it could otherwise renew it, and go on beside the new owner.
"""

from __future__ import annotations

import logging
import sqlite3
import time

from batchexport.errors import StateInUseError
from batchexport.identity import CloudIdentity, difference
from batchexport.store.owner import Owner, is_alive, this_process
from batchexport.store.port import LEASE_S
from batchexport.store.postgres.connection import CATALOGUE
from batchexport.store.postgres.lease import now_of
from batchexport.store.sqlite import lease

log = logging.getLogger(__name__)

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('batchexport.project.' || ?))"
_KNOWN = f"""
    SELECT project_no, region, identity_url, block_storage_url, schema_name, target_id
    FROM {CATALOGUE}.project WHERE project_id = ?"""
_ADD = f"""
    INSERT INTO {CATALOGUE}.project
        (project_id, region, identity_url, block_storage_url, schema_name, target_id)
    VALUES (?, ?, ?, ?, ?, ?)"""
_TAKE = f"UPDATE {CATALOGUE}.project SET schema_name = ?, target_id = ? WHERE project_no = ?"
_RUN_OF = f"SELECT run_name FROM {CATALOGUE}.run WHERE schema_name = ?"
_PATH = "SELECT set_config('search_path', ?, true)"
_END_HOLD = "UPDATE target SET epoch = epoch + 1, owner = NULL, lease_until = 0 WHERE target_id = ?"


def take(db: sqlite3.Connection, target_id: int, *, found: CloudIdentity) -> None:
    """Let this target, which is ours, be the one at work on the project that its sign-in found.

    A project without an id, and the sandbox inside a command, are nobody else's. Raises StateInUseError where
    another target is at work on it.
    """
    if found.project_id is None or found.is_sandbox:
        return
    (here,) = db.execute("SELECT current_schema()").fetchone()
    db.execute(_LOCK, (found.project_id,))
    free: int | None = None
    for number, region, identity_url, block_storage_url, place, other_id in db.execute(
        _KNOWN, (found.project_id,)
    ).fetchall():
        known = CloudIdentity(
            project_id=found.project_id,
            region=region,
            identity_url=identity_url,
            block_storage_url=block_storage_url,
        )
        if difference(known, found) is not None:
            continue
        if (place, other_id) == (here, target_id):
            return
        if _end_hold(db, place, other_id, here=here, project=found):
            free = number
    if free is not None:
        db.execute(_TAKE, (here, target_id, free))
        return
    addresses = (found.identity_url, found.block_storage_url)
    db.execute(_ADD, (found.project_id, found.region, *addresses, here, target_id))


def _end_hold(
    db: sqlite3.Connection, place: str, target_id: int, *, here: str, project: CloudIdentity
) -> bool:
    """Whether that target of another run, or another one of this, no longer works on the project.

    False = it is this process that does, for one list can have two names for one project: it sends each
    volume once. Raises StateInUseError where another process does.
    """
    run = db.execute(_RUN_OF, (place,)).fetchone()
    if run is None:
        return True  # it was dropped
    db.execute(_PATH, (f'"{place}"',))
    row = db.execute("SELECT owner, lease_until FROM target WHERE target_id = ?", (target_id,)).fetchone()
    owner = None if row is None else lease.owner_from(row[0])
    now, me = now_of(db), this_process(now=time.time())
    is_own = owner is not None and _is_same_process(owner, me)
    is_at_work = owner is not None and row[1] > now and is_alive(owner, here=me) is not False
    if owner is not None and not is_at_work:
        db.execute("SELECT 1 FROM target WHERE target_id = ? FOR UPDATE", (target_id,))
        db.execute(_END_HOLD, (target_id,))
        lease.lose_session(db, target_id, last_seen_at=min(row[1] - LEASE_S, now))
        log.warning(
            "%s has not been heard of in time: its work on %s for run %s has ended",
            owner,
            project.project or "the project",
            run[0],
            extra={"action": "hold_ended", "run": run[0], "target_id": target_id},
        )
    db.execute(_PATH, (f'"{here}"',))
    if is_at_work and not (is_own and place == here):
        raise StateInUseError(
            f"{project.project or 'the project'} is being worked on for run {run[0]} by {owner}",
            hint="one process at a time works on a project, over all runs of a database: wait for it",
        )
    return not is_at_work


def _is_same_process(owner: Owner, me: Owner) -> bool:
    return (owner.host, owner.boot_id, owner.pid, owner.started) == (
        me.host,
        me.boot_id,
        me.pid,
        me.started,
    )
