"""Pending rows whose volumes are small enough for the time that is left before a window closes.

A volume of unknown size counts as the mean of those known in its target; where none is, as nothing.
"""

from __future__ import annotations

import sqlite3

from batchexport.model import Job
from batchexport.store.changes import CLAIM, claimed_by
from batchexport.store.schema import IS_READY, IS_WAITING

_FITS = """coalesce(size_gib,
    (SELECT sum(gib) / nullif(sum(sized_jobs), 0) FROM tally WHERE target_id = :target_id), 0) <= :most_gib"""
_WAITING = f"FROM job WHERE target_id = :target_id AND {IS_WAITING} AND {_FITS}"
_READY = f"FROM job WHERE target_id = :target_id AND {IS_READY} AND {_FITS}"

CLAIM_WAITING = CLAIM.format(
    chosen=f"SELECT job_id {_WAITING} AND next_at <= :now ORDER BY next_at, job_id LIMIT :limit"
)
CLAIM_READY = CLAIM.format(chosen=f"SELECT job_id {_READY} ORDER BY job_id LIMIT :limit")
ANY_READY = f"SELECT 1 {_READY} LIMIT 1"
FIRST_WAITING = f"SELECT min(next_at) {_WAITING}"


def claim(
    db: sqlite3.Connection, target_id: int, limit: int, *, now: float, server_now: float, most_gib: int
) -> list[Job]:
    """As `changes.claim`, of volumes of at most so many GiB."""
    values = {"target_id": target_id, "now": now, "server_now": server_now, "most_gib": most_gib}
    return claimed_by((CLAIM_WAITING, CLAIM_READY), db, limit, values)


def next_due_s(db: sqlite3.Connection, target_id: int, *, most_gib: int) -> float | None:
    """As `queries.next_due_s`, of volumes of at most so many GiB."""
    values = {"target_id": target_id, "most_gib": most_gib}
    if db.execute(ANY_READY, values).fetchone():
        return 0.0
    due_at: float | None = db.execute(FIRST_WAITING, values).fetchone()[0]
    return due_at
