"""What the audit trail tells of a whole run: its span, what was put back, and what ended last.

Each function asks through `ask`, which runs one statement and returns its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from batchexport.model import JobState, TargetKey
from batchexport.store.reports import PutBack, RecentEnding, Span, UnderWay
from batchexport.store.sqlite.schema import IS_UNDER_WAY
from batchexport.store.sqlite.values import moment

Ask = Callable[..., list[tuple[Any, ...]]]

#: Read page by page, as jobs are: no read lasts long enough to hold up the process that works.
_PAGE = 2000

_JOBS_SPAN = "SELECT min(accepted_at), max(finished_at) FROM job"
_ATTEMPTS_SPAN = (
    "SELECT min(coalesce(accepted_at, ended_at)), max(ended_at) FROM operation WHERE kind = 'export'"
)
_PUT_BACKS = """
    SELECT operation.operation_id, target_id, job_id, volume_id, size_gib, operation.accepted_at, ended_at,
        http_status, code, reason
    FROM operation JOIN job USING (job_id)
    WHERE operation.operation_id > ? AND outcome = 'pending' ORDER BY operation.operation_id LIMIT ?"""
#: Walked backwards from the newest, so that its cost does not grow with the run.
LATEST_ENDINGS = """
    SELECT ended_at, outcome, size_gib, operation.accepted_at, operation.intent_at IS NOT NULL
    FROM operation JOIN job USING (job_id)
    WHERE ended_at IS NOT NULL AND kind = 'export' ORDER BY ended_at DESC LIMIT ?"""
EXPORTS_UNDER_WAY = f"""
    SELECT target_id, volume_id, image_name, image_id, size_gib, accepted_at, deadline_at, {{volume_name}},
        {{image_status}}
    FROM job
    WHERE {IS_UNDER_WAY} AND state = 'exporting' AND accepted_at IS NOT NULL"""
#: Rows that succeeded are never taken up again: what their attempts say holds.
DOUBTS = """
    SELECT coalesce(reason, ''), code, count(*) AS jobs
    FROM operation WHERE outcome = 'succeeded' AND code IS NOT NULL
    GROUP BY reason, code ORDER BY jobs DESC, reason"""
PLACE = "SELECT line, target_id FROM job WHERE job_id = ?"


def span(ask: Ask) -> Span:
    """When the run began to export and when its last attempt ended."""
    ((accepted_at, finished_at),) = ask(_JOBS_SPAN)
    ((first_at, ended_at),) = ask(_ATTEMPTS_SPAN)
    begun = [at for at in (moment(accepted_at), moment(first_at)) if at is not None]
    ended = [at for at in (moment(finished_at), moment(ended_at)) if at is not None]
    return Span(began_at=min(begun, default=None), ended_at=max(ended, default=None))


def put_backs(ask: Ask, keys: Mapping[int, TargetKey]) -> Iterator[PutBack]:
    """Every attempt that was followed by another, oldest first."""
    last = 0
    while page := ask(_PUT_BACKS, last, _PAGE):
        last = page[-1][0]
        for _, target_id, job_id, volume_id, size_gib, accepted_at, ended_at, status, code, reason in page:
            yield PutBack(
                target=keys[target_id],
                job_id=job_id,
                volume_id=volume_id,
                size_gib=size_gib,
                accepted_at=accepted_at,
                ended_at=ended_at,
                status=status,
                code=code,
                reason=reason,
            )


def latest_endings(ask: Ask, limit: int) -> list[RecentEnding]:
    """The attempts that ended last, the newest first."""
    return [
        RecentEnding(
            ended_at=ended_at,
            outcome=JobState(outcome),
            size_gib=size_gib,
            accepted_at=moment(accepted_at),
            was_sent=bool(was_sent),
        )
        for ended_at, outcome, size_gib, accepted_at, was_sent in ask(LATEST_ENDINGS, limit)
    ]


def under_way(
    ask: Ask, keys: Mapping[int, TargetKey], *, name_column: str, status_column: str
) -> list[UnderWay]:
    """The exports that the cloud is working on, in no order."""
    return [
        UnderWay(
            target=keys[target_id],
            volume_id=volume_id,
            volume_name=volume_name,
            image_name=image_name,
            image_id=image_id,
            size_gib=size_gib,
            accepted_at=moment(accepted_at) or 0.0,
            deadline_at=moment(deadline_at),
            image_status=image_status,
        )
        for (
            target_id,
            volume_id,
            image_name,
            image_id,
            size_gib,
            accepted_at,
            deadline_at,
            volume_name,
            image_status,
        ) in ask(EXPORTS_UNDER_WAY.format(volume_name=name_column, image_status=status_column))
    ]
