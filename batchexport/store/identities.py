"""What each target was found to be at its first sign-in: the cloud that the state file belongs to.

The table is made when it is first needed: files without one are of no older format, nobody had asked.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from batchexport.errors import WrongCloudError
from batchexport.identity import CloudIdentity, difference
from batchexport.store.history import Ask
from batchexport.store.moments import moment
from batchexport.store.schema import UNIQUE_INDEXES

_TABLE = """
    CREATE TABLE IF NOT EXISTS target_identity (
        target_id INTEGER PRIMARY KEY REFERENCES target,
        bound_at REAL NOT NULL,
        cloud TEXT,
        region TEXT,
        project_id TEXT,
        project_name TEXT,
        identity_url TEXT,
        block_storage_url TEXT,
        is_sandbox INTEGER NOT NULL
    ) STRICT"""
_COLUMNS = "cloud, region, project_id, project_name, identity_url, block_storage_url, is_sandbox"
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'target_identity'"
_ALL = f"SELECT target_id, bound_at, {_COLUMNS} FROM target_identity ORDER BY target_id"
_BIND = f"""
    INSERT OR REPLACE INTO target_identity (target_id, bound_at, {_COLUMNS})
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""

# Where both are to be sent, the row that was tried before is: it knows the images that were made for it.
_SAME_VOLUMES = """
    SELECT job.job_id, job.attempt, other.line FROM job JOIN job AS other
        ON other.volume_id = job.volume_id AND other.target_id = ?
        AND other.state NOT IN ('failed', 'skipped')
    WHERE job.target_id = ? AND job.state = 'pending'
        AND NOT (other.state = 'pending' AND other.first_intent_at IS NULL
            AND job.first_intent_at IS NOT NULL)"""
_LOG = "INSERT INTO attempt (job_id, attempt, ended_at, outcome, reason) VALUES (?, ?, ?, 'skipped', ?)"
_SKIP = "UPDATE job SET state = 'skipped', next_at = 0, finished_at = ?, ending_id = ? WHERE job_id = ?"


def identities_of(ask: Ask) -> dict[int, CloudIdentity]:
    """What the targets were found to be, by target id; those never signed in to are left out."""
    if not ask(_IS_THERE):
        return {}
    return {row[0]: _identity(row) for row in ask(_ALL)}


def bind(db: sqlite3.Connection, target_id: int, found: CloudIdentity, *, at: float, rebind: bool) -> None:
    """Note what a target is where nobody had; WrongCloudError where it is known to be another.

    With `rebind` the addresses of its services may have changed.
    """
    bound = identities_of(lambda statement: db.execute(statement).fetchall()).get(target_id)
    if bound is not None:
        check_bound(bound, found, rebind=rebind)
    if bound is None or rebind:
        db.execute(_TABLE)
        names = (found.cloud, found.region, found.project_id, found.project_name)
        addresses = (found.identity_url, found.block_storage_url, found.is_sandbox)
        db.execute(_BIND, (target_id, at, *names, *addresses))


def skip_known_twice(db: sqlite3.Connection, target_id: int, *, at: float) -> int:
    """How many pending jobs of the target were skipped: a target of the same project has their volumes.

    A list can name one project in two ways, by a cloud and by the default; only sign-in tells. Which of the
    two keeps the volume is decided by whose sign-in comes first.
    """
    known = identities_of(lambda statement: db.execute(statement).fetchall())
    mine = known.pop(target_id, None)
    same = [other for other, theirs in known.items() if mine is not None and _is_known_as(mine, theirs)]
    skipped = 0
    for other in same:
        db.execute(UNIQUE_INDEXES["volume_id"])
        for job_id, attempt, line in db.execute(_SAME_VOLUMES, (other, target_id)).fetchall():
            reason = f"line {line} names the same volume, and its cloud is the same project: sent only once"
            ending_id = db.execute(_LOG, (job_id, attempt, at, reason)).lastrowid
            db.execute(_SKIP, (at, ending_id, job_id))
            skipped += 1
    return skipped


def _is_known_as(mine: CloudIdentity, theirs: CloudIdentity) -> bool:
    """Whether two targets are surely the same project."""
    is_told = mine.project_id is not None and theirs.project_id is not None
    return (is_told or mine.is_sandbox) and difference(mine, theirs) is None


def check_bound(bound: CloudIdentity, found: CloudIdentity, *, rebind: bool) -> None:
    """Raise WrongCloudError where a state file that is bound to one cloud is used with another. Pure."""
    unlike = difference(bound, found)
    if unlike is None or (unlike == "address" and rebind):
        return
    hint = (
        f"sign in to the cloud of the state file; for another {unlike}, name another state file with --state"
    )
    if unlike == "address":
        hint += "; if only the addresses of this cloud have changed, say so with --rebind-cloud"
    if bound.is_sandbox:
        hint = "what was tried on the practice cloud counts for no real one: name another file with --state"
    raise WrongCloudError(
        f"the state file belongs to {bound}, but this is {found}: another {unlike}; nothing was sent to it",
        hint=hint,
    )


def _identity(row: tuple[Any, ...]) -> CloudIdentity:
    moment(row[1])
    return CloudIdentity(
        cloud=row[2],
        region=row[3],
        project_id=row[4],
        project_name=row[5],
        identity_url=row[6],
        block_storage_url=row[7],
        is_sandbox=bool(row[8]),
    )
