"""Every question to the jobs that a running engine asks, each as one function on a connection.

A row is unchecked while its volume was not looked at: until its size is known, so that an interrupted look
goes on where it was.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from batchexport.model import InUse, Job, JobState
from batchexport.store.records import Forbiddings, NeverAttempted, OpenRow, RunRecord
from batchexport.store.sqlite import values
from batchexport.store.sqlite.schema import (
    IS_READY,
    IS_RETRYABLE,
    IS_UNDER_WAY,
    IS_WAITING,
    RUN_COLUMNS,
    UNIQUE_INDEXES,
)
from batchexport.store.sqlite.values import moment

JOB_COLUMNS = (
    "job_id, volume_id, image_name, options, attempt, attempts_before, size_gib, intent_at, first_intent_at,"
    " image_id, request_id, accepted_at, deadline_at"
)

UNDER_WAY = (
    f"SELECT {JOB_COLUMNS} FROM job WHERE target_id = ? AND {IS_UNDER_WAY} AND state = ? ORDER BY job_id"
)
AMBIGUOUS = (
    f"SELECT {JOB_COLUMNS} FROM job"
    f" WHERE {IS_RETRYABLE} AND state = 'ambiguous' AND target_id = ? ORDER BY job_id"
)
ANY_READY = f"SELECT 1 FROM job WHERE target_id = :target_id AND {IS_READY} LIMIT 1"
FIRST_WAITING = f"SELECT min(next_at) FROM job WHERE target_id = :target_id AND {IS_WAITING}"

#: A volume of unknown size counts as the mean of those known in its target; where none is, as nothing.
FITS = """coalesce(size_gib,
    (SELECT sum(gib) / nullif(sum(sized_jobs), 0) FROM tally WHERE target_id = :target_id), 0) <= :max_gib"""
ANY_READY_THAT_FITS = ANY_READY.replace(" LIMIT", f" AND {FITS} LIMIT")
FIRST_WAITING_THAT_FITS = f"{FIRST_WAITING} AND {FITS}"
FORBIDDEN = f"""
    SELECT job.job_id FROM job JOIN operation USING (operation_id)
    WHERE target_id = ? AND {IS_WAITING} AND http_status IN (403, 413)"""
ANY_ACCEPTED = """
    SELECT 1 FROM tally WHERE target_id = ? AND state IN ('exporting', 'succeeded') AND jobs > 0"""


def job_of(row: tuple[Any, ...]) -> Job:
    """The job that a row of `JOB_COLUMNS` tells of."""
    return Job(
        job_id=row[0],
        volume_id=row[1],
        image_name=row[2],
        options=values.options_from_text(row[3]),
        attempt=row[4],
        attempts_before=row[5],
        size_gib=row[6],
        intent_at=row[7],
        first_intent_at=row[8],
        image_id=row[9],
        request_id=row[10],
        accepted_at=row[11],
        deadline_at=row[12],
    )


def run_record(db: sqlite3.Connection) -> RunRecord:
    """What the file was made from."""
    row = db.execute(f"SELECT {RUN_COLUMNS} FROM run").fetchone()
    return RunRecord(
        run_id=row[0],
        created_at=moment(row[1]) or 0.0,
        list_name=row[2],
        list_sha256=row[3],
        rows=row[4],
        settings=row[5],
        version=row[6],
        stop_rows=row[7],
        in_use=None if row[8] is None else InUse(row[8]),
        may_stop=bool(row[9]),
    )


def under_way(db: sqlite3.Connection, target_id: int, state: JobState) -> list[Job]:
    """Jobs that are submitting or exporting, in order."""
    return [job_of(row) for row in db.execute(UNDER_WAY, (target_id, state))]


def ambiguous(db: sqlite3.Connection, target_id: int) -> list[Job]:
    """Jobs with several images, in order."""
    return [job_of(row) for row in db.execute(AMBIGUOUS, (target_id,))]


def next_due_s(db: sqlite3.Connection, target_id: int, *, max_gib: int | None = None) -> float | None:
    """When the next pending job may go: 0.0 = now, None = none is pending.

    With `max_gib`, of those whose volume is not larger, as far as its size is known.
    """
    values = {"target_id": target_id, "max_gib": max_gib}
    ready, waiting = (
        (ANY_READY, FIRST_WAITING) if max_gib is None else (ANY_READY_THAT_FITS, FIRST_WAITING_THAT_FITS)
    )
    if db.execute(ready, values).fetchone():
        return 0.0
    due_at: float | None = db.execute(waiting, values).fetchone()[0]
    return due_at


def forbidden(db: sqlite3.Connection, target_id: int) -> Forbiddings:
    """The pending rows whose last request the cloud forbade."""
    job_ids = frozenset(job_id for (job_id,) in db.execute(FORBIDDEN, (target_id,)))
    any_accepted = bool(job_ids) and db.execute(ANY_ACCEPTED, (target_id,)).fetchone() is not None
    return Forbiddings(job_ids=job_ids, others_were_accepted=any_accepted)


def counts(db: sqlite3.Connection) -> dict[JobState, int]:
    """How many jobs of all targets are in each state; every state is there."""
    found = dict(db.execute("SELECT state, sum(jobs) FROM tally GROUP BY state"))
    return {state: found.get(state, 0) for state in JobState}


COUNT_UNCHECKED = "SELECT jobs - sized_jobs FROM tally WHERE target_id = ? AND state = 'pending'"
COUNT_PENDING = "SELECT jobs FROM tally WHERE target_id = ? AND state = 'pending'"

_UNTRIED = f"SELECT line, {JOB_COLUMNS} FROM job WHERE target_id = ?"
_AMONG_UNTRIED = "IN (SELECT value FROM json_each(?)) AND state = 'pending' AND attempt = 0"
UNCHECKED_OF_VOLUMES = f"{_UNTRIED} AND volume_id {_AMONG_UNTRIED} AND size_gib IS NULL ORDER BY job_id"
UNTRIED_OF_NAMES = f"{_UNTRIED} AND image_name {_AMONG_UNTRIED} ORDER BY job_id"
NEXT_UNCHECKED = (
    f"{_UNTRIED} AND {IS_READY} AND attempt = 0 AND size_gib IS NULL AND job_id > ? ORDER BY job_id LIMIT ?"
)


def unchecked_count(db: sqlite3.Connection, target_id: int) -> int:
    """How many pending rows have a volume of unknown size. Fast at any size."""
    return int(db.execute(COUNT_UNCHECKED, (target_id,)).fetchone()[0])


def pending_count(db: sqlite3.Connection, target_id: int) -> int:
    """How many rows are pending. Fast at any size."""
    return int(db.execute(COUNT_PENDING, (target_id,)).fetchone()[0])


def unchecked_of_volumes(
    db: sqlite3.Connection, target_id: int, volume_ids: Sequence[str]
) -> list[NeverAttempted]:
    """The rows for these volumes, those looked at left out."""
    db.execute(UNIQUE_INDEXES["volume_id"])
    return _unchecked(db, UNCHECKED_OF_VOLUMES, target_id, json.dumps(volume_ids))


def untried_of_names(
    db: sqlite3.Connection, target_id: int, image_names: Sequence[str]
) -> list[NeverAttempted]:
    """The rows that want one of these image names."""
    db.execute(UNIQUE_INDEXES["image_name"])
    return _unchecked(db, UNTRIED_OF_NAMES, target_id, json.dumps(image_names))


def unchecked_after(db: sqlite3.Connection, target_id: int, job_id: int, limit: int) -> list[NeverAttempted]:
    """The first rows behind this one that were not looked at."""
    return _unchecked(db, NEXT_UNCHECKED, target_id, job_id, limit)


def _unchecked(db: sqlite3.Connection, statement: str, *values: object) -> list[NeverAttempted]:
    return [NeverAttempted(line=row[0], job=job_of(row[1:])) for row in db.execute(statement, values)]


_OPEN_ROWS = f"SELECT state, {JOB_COLUMNS} FROM job WHERE target_id = ?"
OPEN_OF_VOLUMES = (
    f"{_OPEN_ROWS} AND volume_id IN (SELECT value FROM json_each(?))"
    " AND state IN ('pending', 'submitting', 'exporting', 'ambiguous') ORDER BY job_id"
)
STALLED_EXPORTS = (
    f"{_OPEN_ROWS} AND {IS_UNDER_WAY} AND state = 'exporting' AND deadline_at < ? ORDER BY job_id"
)
IN_DOUBT = f"{_OPEN_ROWS} AND {IS_UNDER_WAY} AND state = 'submitting' ORDER BY job_id"
PENDING = f"{_OPEN_ROWS} AND job_id > ? AND state = 'pending' ORDER BY job_id LIMIT 1000"


def open_rows_of_volumes(db: sqlite3.Connection, target_id: int, volume_ids: Sequence[str]) -> list[OpenRow]:
    """The rows for these volumes that are not at their end, in the order of the list."""
    db.execute(UNIQUE_INDEXES["volume_id"])
    return _open_rows(db, OPEN_OF_VOLUMES, target_id, json.dumps(list(volume_ids)))


def stalled_rows(db: sqlite3.Connection, target_id: int, *, now: float) -> list[OpenRow]:
    """The exports past their deadlines, and every row whose request is in doubt."""
    return [*_open_rows(db, STALLED_EXPORTS, target_id, now), *_open_rows(db, IN_DOUBT, target_id)]


def pending_rows(db: sqlite3.Connection, target_id: int, *, after: int) -> list[OpenRow]:
    """The first pending rows behind job `after`."""
    return _open_rows(db, PENDING, target_id, after)


def _open_rows(db: sqlite3.Connection, statement: str, *values: object) -> list[OpenRow]:
    found = db.execute(statement, values).fetchall()
    return [OpenRow(state=JobState(row[0]), job=job_of(row[1:])) for row in found]
