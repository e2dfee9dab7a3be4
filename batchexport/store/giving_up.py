"""Rows that somebody may give up on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import msgspec

from batchexport.model import Job, JobState
from batchexport.store.queries import JOB_COLUMNS, job_of
from batchexport.store.schema import IS_UNDER_WAY, UNIQUE_INDEXES

_ROWS = f"SELECT state, {JOB_COLUMNS} FROM job WHERE target_id = ?"
OF_VOLUMES = (
    f"{_ROWS} AND volume_id IN (SELECT value FROM json_each(?))"
    " AND state IN ('pending', 'submitting', 'exporting', 'ambiguous') ORDER BY job_id"
)
STALLED = f"{_ROWS} AND {IS_UNDER_WAY} AND state = 'exporting' AND deadline_at < ? ORDER BY job_id"
IN_DOUBT = f"{_ROWS} AND {IS_UNDER_WAY} AND state = 'submitting' ORDER BY job_id"


class OpenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is not at its end, and the state it is in."""

    job: Job
    state: JobState


def of_volumes(db: sqlite3.Connection, target_id: int, volume_ids: Sequence[str]) -> list[OpenRow]:
    """The rows for these volumes that are not at their end, in the order of the list."""
    db.execute(UNIQUE_INDEXES["volume_id"])
    return _rows(db, OF_VOLUMES, target_id, json.dumps(list(volume_ids)))


def stalled(db: sqlite3.Connection, target_id: int, *, now: float) -> list[OpenRow]:
    """The exports past their deadlines, and every row whose request is in doubt."""
    return [*_rows(db, STALLED, target_id, now), *_rows(db, IN_DOUBT, target_id)]


def _rows(db: sqlite3.Connection, statement: str, *values: object) -> list[OpenRow]:
    found = db.execute(statement, values).fetchall()
    return [OpenRow(state=JobState(row[0]), job=job_of(row[1:])) for row in found]
