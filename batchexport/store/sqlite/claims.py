"""Jobs are taken up: a claim writes the intents of its jobs, and `retry` lets ended ones be claimed again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping

from batchexport.model import ExportOrder, Job, JobState
from batchexport.store.sqlite.queries import FITS, JOB_COLUMNS, job_of
from batchexport.store.sqlite.schema import (
    AT_ONCE_OR_HELD,
    IS_READY,
    IS_RETRYABLE,
    IS_WAITING,
    NOT_LISTED,
    ORDER_INDEXES,
)

#: The intent is an operation, written together with the state. `last` is the newest operation before.
INTENT = """
    INSERT INTO operation (job_id, attempt, intent_at)
    SELECT job_id, attempt + 1, :server_now FROM {source} WHERE {chosen}"""
CLAIM = f"""
    UPDATE job SET
        state = 'submitting', attempt = job.attempt + 1, next_at = 0,
        intent_at = :server_now, first_intent_at = coalesce(first_intent_at, :server_now),
        image_id = NULL, request_id = NULL, accepted_at = NULL, deadline_at = NULL,
        finished_at = NULL, operation_id = operation.operation_id
    FROM operation
    WHERE operation.operation_id > :last AND job.job_id = operation.job_id
        AND +job.target_id = :target_id AND operation.kind = 'export'
    RETURNING {", ".join(f"job.{column}" for column in JOB_COLUMNS.split(", "))}"""

_DUE = f"target_id = :target_id AND {IS_WAITING} AND next_at <= :now"
_WAITING = f"{_DUE}{{fits}} ORDER BY next_at, job_id LIMIT :limit"
CLAIM_WAITING = INTENT.format(source="job", chosen=_WAITING.format(fits=""))
CLAIM_WAITING_THAT_FITS = INTENT.format(source="job", chosen=_WAITING.format(fits=f" AND {FITS}"))
#: By order: the index that has the jobs in it, and the order as SQL.
_ORDERS = {
    ExportOrder.LIST: ("job_ready", "job_id"),
    ExportOrder.SIZE: ("job_by_size", "size_gib DESC, job_id"),
    ExportOrder.PRIORITY: ("job_by_priority", "priority DESC, size_gib DESC, job_id"),
}
CLAIM_READY, CLAIM_READY_THAT_FITS = (
    {
        order: INTENT.format(
            source=f"job INDEXED BY {index}",
            chosen=f"target_id = :target_id AND {IS_READY}{fits} ORDER BY {by} LIMIT :limit",
        )
        for order, (index, by) in _ORDERS.items()
    }
    for fits in ("", f" AND {FITS}")
)

# A row that was never sent is looked at anew: its size is what says that somebody has.
RETRY = f"""
    UPDATE job SET
        state = 'pending', next_at = {AT_ONCE_OR_HELD}, attempts_before = attempt, intent_at = NULL,
        image_id = NULL, request_id = NULL, accepted_at = NULL, deadline_at = NULL, finished_at = NULL,
        size_gib = CASE attempt WHEN 0 THEN NULL ELSE size_gib END
    WHERE {IS_RETRYABLE} AND state = ? AND target_id = ? AND NOT (state = 'skipped' AND EXISTS (
        SELECT 1 FROM operation WHERE operation.operation_id = job.operation_id AND code = '{NOT_LISTED}'))"""


def claim(
    db: sqlite3.Connection,
    target_id: int,
    limit: int,
    *,
    now: float,
    server_now: float,
    max_gib: int | None = None,
    order: ExportOrder = ExportOrder.PRIORITY,
) -> list[Job]:
    """At most `limit` jobs, now submitting: those whose wait is over, then those that may go at once.

    The latter come in this order. With `max_gib`, only jobs whose volume is not larger, as far as its size is
    known.
    """
    values = {"target_id": target_id, "now": now, "server_now": server_now, "max_gib": max_gib}
    waiting, ready = CLAIM_WAITING, CLAIM_READY[order]
    if max_gib is not None:
        waiting, ready = CLAIM_WAITING_THAT_FITS, CLAIM_READY_THAT_FITS[order]
    jobs = claimed_by(db, waiting, {**values, "limit": limit})
    if (room := limit - len(jobs)) > 0:
        if order in ORDER_INDEXES:
            db.execute(ORDER_INDEXES[order])
        jobs += sorted(claimed_by(db, ready, {**values, "limit": room}), key=_PLACES[order])
    return jobs


#: Where a job stands in each order.
_PLACES: Mapping[ExportOrder, Callable[[Job], tuple[int, ...]]] = {
    ExportOrder.LIST: lambda job: (job.job_id,),
    ExportOrder.SIZE: lambda job: (-(job.size_gib or 0), job.job_id),
    ExportOrder.PRIORITY: lambda job: (-(job.options.priority or 0), -(job.size_gib or 0), job.job_id),
}


def claimed_by(db: sqlite3.Connection, statement: str, values: Mapping[str, object]) -> list[Job]:
    """The jobs that this statement of `INTENT` chooses, now submitting, in the order of the list."""
    (last,) = db.execute("SELECT coalesce(max(operation_id), 0) FROM operation").fetchone()
    if not db.execute(statement, values).rowcount:
        return []
    claimed = {name: values[name] for name in ("server_now", "target_id")} | {"last": last}
    rows = db.execute(CLAIM, claimed).fetchall()
    return sorted(map(job_of, rows), key=lambda job: job.job_id)


def retry(db: sqlite3.Connection, target_id: int, states: Iterable[JobState]) -> int:
    """How many jobs of the target in these final states are pending again with a full allowance."""
    return sum(db.execute(RETRY, (state, target_id)).rowcount for state in states)
