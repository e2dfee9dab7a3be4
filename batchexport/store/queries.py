"""Every question to the tables that a running engine asks, each as one function on a connection."""

from __future__ import annotations

import sqlite3
from typing import Any

from batchexport.model import InUse, Job, JobState, TargetKey
from batchexport.store import options
from batchexport.store.identities import identities_of
from batchexport.store.moments import moment
from batchexport.store.records import Forbiddings, RunRecord, TargetRecord
from batchexport.store.schema import IS_READY, IS_RETRYABLE, IS_UNDER_WAY, IS_WAITING, RUN_COLUMNS

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
ANY_READY = f"SELECT 1 FROM job WHERE target_id = ? AND {IS_READY} LIMIT 1"
FIRST_WAITING = f"SELECT min(next_at) FROM job WHERE target_id = ? AND {IS_WAITING}"
FORBIDDEN = f"""
    SELECT job.job_id FROM job JOIN attempt ON attempt_id = ending_id
    WHERE target_id = ? AND {IS_WAITING} AND http_status = 403"""
ANY_ACCEPTED = """
    SELECT 1 FROM tally WHERE target_id = ? AND state IN ('exporting', 'succeeded') AND jobs > 0"""


def job_of(row: tuple[Any, ...]) -> Job:
    """The job that a row of `JOB_COLUMNS` tells of."""
    return Job(
        job_id=row[0],
        volume_id=row[1],
        image_name=row[2],
        options=options.from_text(row[3]),
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


def targets(db: sqlite3.Connection) -> list[TargetRecord]:
    """Every target, in the order in which the list names them."""
    identities = identities_of(lambda statement: db.execute(statement).fetchall())
    return [
        TargetRecord(
            target_id=target_id,
            key=TargetKey(*key),
            requests_per_second=rate,
            identity=identities.get(target_id),
        )
        for target_id, rate, *key in db.execute(
            "SELECT target_id, requests_per_second, cloud, region, project FROM target ORDER BY target_id"
        )
    ]


def under_way(db: sqlite3.Connection, target_id: int, state: JobState) -> list[Job]:
    """Jobs that are submitting or exporting, in order."""
    return [job_of(row) for row in db.execute(UNDER_WAY, (target_id, state))]


def ambiguous(db: sqlite3.Connection, target_id: int) -> list[Job]:
    """Jobs with several images, in order."""
    return [job_of(row) for row in db.execute(AMBIGUOUS, (target_id,))]


def next_due_s(db: sqlite3.Connection, target_id: int) -> float | None:
    """When the next pending job may go: 0.0 = now, None = none is pending."""
    if db.execute(ANY_READY, (target_id,)).fetchone():
        return 0.0
    due_at: float | None = db.execute(FIRST_WAITING, (target_id,)).fetchone()[0]
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
