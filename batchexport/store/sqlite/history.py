"""What the audit trail tells of a whole run: its span, its attempts, and the images that came to nothing.

Each function asks through `ask`, which runs one statement and returns its rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from batchexport.model import JobState, TargetKey
from batchexport.store.reports import Abandoned, AttemptReport, Span
from batchexport.store.sqlite.values import moment

Ask = Callable[..., list[tuple[Any, ...]]]

#: Read page by page, as jobs are: no read lasts long enough to hold up the process that works.
_PAGE = 2000

_JOBS_SPAN = "SELECT min(accepted_at), max(finished_at) FROM job"
_ATTEMPTS_SPAN = (
    "SELECT min(coalesce(accepted_at, ended_at)), max(ended_at) FROM operation WHERE kind = 'export'"
)
_ATTEMPT = """
    SELECT operation.operation_id, target_id, job_id, volume_id, size_gib, operation.attempt,
        operation.intent_at, operation.accepted_at, ended_at, outcome, operation.image_id, http_status, code,
        reason, operation.request_id
    FROM operation JOIN job USING (job_id)
    WHERE kind = 'export' AND ended_at IS NOT NULL"""
_ATTEMPTS = f"{_ATTEMPT} AND operation.operation_id > ? ORDER BY operation.operation_id LIMIT ?"
_ATTEMPTS_OF_OUTCOME = _ATTEMPTS.replace(" ORDER", " AND outcome = ? ORDER")
#: Walked backwards from the newest, so that its cost does not grow with the run.
LATEST_ATTEMPTS = f"{_ATTEMPT} ORDER BY ended_at DESC LIMIT ?"
#: Rows that succeeded are never taken up again: what their attempts say holds.
DOUBTS = """
    SELECT coalesce(reason, ''), code, count(*) AS jobs
    FROM operation WHERE outcome = 'succeeded' AND code IS NOT NULL
    GROUP BY reason, code ORDER BY jobs DESC, reason"""
# A copy that was gone left none, and an orphan is removed before the next attempt.
_ABANDONED = """
    SELECT target_id, job.job_id, volume_id, image_name, operation.image_id,
        max(CASE WHEN code IN ('image_dead', 'export_stuck', 'given_up')
            OR code = 'image_orphaned' AND operation.attempt = job.attempt THEN 1 ELSE 0 END)
    FROM operation JOIN job USING (job_id)
    WHERE operation.image_id IS NOT NULL AND outcome <> 'succeeded'
    GROUP BY job.job_id, operation.image_id ORDER BY min(operation.operation_id)"""
_OWN_IMAGES = """
    SELECT image_id FROM job
    WHERE state IN ('exporting', 'succeeded') AND image_id IN (SELECT value FROM json_each(?))"""


def span(ask: Ask) -> Span:
    """When the run began to export and when its last attempt ended."""
    ((accepted_at, finished_at),) = ask(_JOBS_SPAN)
    ((first_at, ended_at),) = ask(_ATTEMPTS_SPAN)
    begun = [at for at in (moment(accepted_at), moment(first_at)) if at is not None]
    ended = [at for at in (moment(finished_at), moment(ended_at)) if at is not None]
    return Span(began_at=min(begun, default=None), ended_at=max(ended, default=None))


def attempts(ask: Ask, keys: Mapping[int, TargetKey], outcome: JobState | None) -> Iterator[AttemptReport]:
    """Every attempt that ended, or those of one outcome, oldest first."""
    last = 0
    statement, also = (_ATTEMPTS, ()) if outcome is None else (_ATTEMPTS_OF_OUTCOME, (outcome,))
    while page := ask(statement, last, *also, _PAGE):
        last = page[-1][0]
        for row in page:
            yield _attempt(row, keys)


def latest_attempts(ask: Ask, keys: Mapping[int, TargetKey], limit: int) -> list[AttemptReport]:
    """The attempts that ended last, the newest first."""
    return [_attempt(row, keys) for row in ask(LATEST_ATTEMPTS, limit)]


def _attempt(row: tuple[Any, ...], keys: Mapping[int, TargetKey]) -> AttemptReport:
    return AttemptReport(
        target=keys[row[1]],
        job_id=row[2],
        volume_id=row[3],
        size_gib=row[4],
        attempt=row[5],
        intent_at=row[6],
        accepted_at=moment(row[7]),
        ended_at=row[8],
        outcome=JobState(row[9]),
        image_id=row[10],
        status=row[11],
        code=row[12],
        reason=row[13],
        request_id=row[14],
    )


def abandoned(ask: Ask, keys: Mapping[int, TargetKey]) -> list[Abandoned]:
    """The images of attempts that ended without success, those of rows that have them left out."""
    rows = ask(_ABANDONED)
    own = {image_id for (image_id,) in ask(_OWN_IMAGES, json.dumps([row[4] for row in rows]))} if rows else ()
    return [
        Abandoned(
            target=keys[row[0]],
            job_id=row[1],
            volume_id=row[2],
            image_name=row[3],
            image_id=row[4],
            may_be_left=bool(row[5]),
        )
        for row in rows
        if row[4] not in own
    ]
