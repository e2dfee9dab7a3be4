"""Changes that come in crowds, many jobs to a statement: a million rows are two million of them.

One statement for many rows costs a third of as many statements, and Python's lock is given up for all of it,
so that the event loop runs on meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec

from batchexport.model import FINAL_STATES, Accepted, Ending, Job, JobState
from batchexport.store import changes

#: A job of the target, what the cloud answered, at which moment, and the deadline.
Acceptance = tuple[Job, Accepted, float, float]
#: A job of the target, why it ended, and at which moment.
End = tuple[Job, Ending, float]

_GIVEN_ATTEMPT = (
    "job.job_id = given.job_id AND job.target_id = ? AND job.attempt = given.attempt AND state IN ({before})"
)

ACCEPT = f"""
    UPDATE job SET
        state = 'exporting', image_id = given.image, request_id = given.request, accepted_at = given.at,
        deadline_at = given.deadline, size_gib = coalesce(given.size, size_gib), finished_at = NULL,
        ending_id = NULL
    FROM {{given}} WHERE {_GIVEN_ATTEMPT.format(before=changes.before(JobState.EXPORTING))}"""
_ACCEPT_FIELDS = ("job_id", "attempt", "image", "request", "at", "deadline", "size")

_LOG = f"""
    INSERT INTO attempt
        (job_id, attempt, intent_at, accepted_at, image_id, ended_at, outcome, http_status, code, reason,
        request_id, image_hash)
    SELECT job.job_id, job.attempt, intent_at, accepted_at, image_id, given.at, '{{outcome}}', given.status,
        given.code, given.reason, coalesce(given.request, request_id), given.hash
    FROM {{given}} CROSS JOIN job WHERE {_GIVEN_ATTEMPT}"""
_LOG_FIELDS = ("job_id", "attempt", "at", "status", "code", "reason", "request", "hash")
LOG = {
    state: _LOG.replace(
        "{before}", changes.before(state, without=changes.NEVER_SENT | changes.BY_HAND)
    ).replace("{outcome}", state)
    for state in FINAL_STATES
}

END = """
    UPDATE job SET
        state = given.state, finished_at = given.at,
        ending_id = (SELECT max(attempt_id) FROM attempt WHERE attempt.job_id = job.job_id)
    FROM {given} WHERE job.job_id = given.job_id"""
_END_FIELDS = ("job_id", "state", "at")


class Kind(msgspec.Struct, frozen=True):
    """A change that many jobs of one target may undergo together."""

    #: Changes all it is given and says True, or says False: then what it did is to be undone.
    many: Callable[[sqlite3.Connection, int, Sequence[Any]], bool]
    #: Changes one, or raises StateError.
    one: Callable[[sqlite3.Connection, int, Any], None]


def _accept_many(db: sqlite3.Connection, target_id: int, items: Sequence[Acceptance]) -> bool:
    rows = [
        (job.job_id, job.attempt, took.image_id, took.request_id, at, deadline_at, took.size_gib)
        for job, took, at, deadline_at in items
    ]
    return _execute(db, ACCEPT, _ACCEPT_FIELDS, rows, target_id) == len(items)


def _accept_one(db: sqlite3.Connection, target_id: int, item: Acceptance) -> None:
    job, accepted, at, deadline_at = item
    changes.accept(db, target_id, job, accepted, at=at, deadline_at=deadline_at)


def _ending(state: JobState) -> Kind:
    """The kind of ending in this final state."""

    def many(db: sqlite3.Connection, target_id: int, items: Sequence[End]) -> bool:
        rows = [
            (job.job_id, job.attempt, at, why.status, why.code, why.reason, why.request_id, why.image_hash)
            for job, why, at in items
        ]
        if _execute(db, LOG[state], _LOG_FIELDS, rows, target_id) != len(items):
            return False
        ends = [(job.job_id, state.value, at) for job, _, at in items]
        return _execute(db, END, _END_FIELDS, ends) == len(items)

    def one(db: sqlite3.Connection, target_id: int, item: End) -> None:
        job, ending, at = item
        changes.end(db, target_id, job, state, ending, at=at)

    return Kind(many, one)


ACCEPTED = Kind(_accept_many, _accept_one)
ENDED = {state: _ending(state) for state in FINAL_STATES}


def _execute(
    db: sqlite3.Connection, form: str, fields: Sequence[str], rows: Sequence[tuple[Any, ...]], *values: object
) -> int:
    """Execute the statement with `rows` for its table `given`; how many rows it changed."""
    # In a few sizes only, filled up with rows that fit no job, so that each statement is prepared once.
    size = 1 << (len(rows) - 1).bit_length()
    filling = (None,) * len(fields) * (size - len(rows))
    statement = statement_for(form, tuple(fields), size)
    return db.execute(statement, (*chain.from_iterable(rows), *filling, *values)).rowcount


@lru_cache(maxsize=64)
def statement_for(form: str, fields: tuple[str, ...], rows: int) -> str:
    """The statement for so many rows."""
    names = ", ".join(f"column{place} AS {field}" for place, field in enumerate(fields, start=1))
    row = f"({', '.join('?' * len(fields))})"
    return form.format(given=f"(SELECT {names} FROM (VALUES {', '.join([row] * rows)})) AS given")
