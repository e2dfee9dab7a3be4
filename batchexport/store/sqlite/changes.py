"""Every change of a target's jobs, each as one statement for as many of them as come together.

A million rows are two million changes: one statement for many costs a third of as many statements, and
Python's lock is given up for all of it, so that the event loop runs on meanwhile. A single change is a bulk
of one. A change names the states it may start from, and the attempt it speaks of; where the row is elsewhere
nothing is changed and StateError says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec

from batchexport import changes
from batchexport.changes import JobChange
from batchexport.errors import StateError
from batchexport.model import JobState
from batchexport.store.sqlite import resources
from batchexport.store.sqlite.schema import (
    AT_ONCE_OR_HELD,
    HELD,
    UNIQUE_INDEXES,
)

# In every bulk statement the table `given` holds a line for each change. Only a few sizes are prepared: they
# are filled up with lines that fit no job.
_THIS_ATTEMPT = (
    "job.job_id = given.job_id AND job.target_id = ? AND job.attempt = given.attempt AND state IN ({before})"
)
_NEWEST = "(SELECT max(operation_id) FROM operation WHERE operation.job_id = job.job_id)"
_FORGET_REQUEST = (
    "intent_at = NULL, image_id = NULL, request_id = NULL, accepted_at = NULL, deadline_at = NULL"
)


def _before(kind: type[JobChange], after: JobState) -> str:
    return ", ".join(f"'{state}'" for state in sorted(kind.starts_from[after]))


START = f"""
    UPDATE job SET
        state = 'exporting', image_id = given.image, request_id = given.request, accepted_at = given.at,
        deadline_at = given.deadline, size_gib = coalesce(given.size, size_gib), finished_at = NULL<operation>
    FROM {{given}} WHERE {_THIS_ATTEMPT.format(before="<before>")}"""
#: What was ambiguous had come to its end: the adoption of its image is another operation.
START_AGAIN = START.replace("<before>", "'ambiguous'").replace("<operation>", f", operation_id = {_NEWEST}")
START = START.replace("<before>", "'submitting'").replace("<operation>", "")
START_FIELDS = ("job_id", "attempt", "image", "request", "at", "deadline", "size")

# The jobs are found before the operations: so nested, SQLite does not begin with all operations.
_LOG = f"""
    UPDATE operation SET
        accepted_at = ended.accepted_at, image_id = ended.image_id, ended_at = ended.at,
        outcome = '<outcome>', http_status = ended.status, code = ended.code, reason = ended.reason,
        request_id = ended.request_id, image_hash = ended.hash
    FROM (
        SELECT job.operation_id AS this_id, job.accepted_at, job.image_id, given.at, given.status, given.code,
            given.reason, coalesce(given.request, job.request_id) AS request_id, given.hash
        FROM {{given}} CROSS JOIN job WHERE {_THIS_ATTEMPT.format(before="<before>")} LIMIT -1
    ) AS ended
    WHERE operation.operation_id = ended.this_id"""
LOG_FIELDS = ("job_id", "attempt", "at", "status", "code", "reason", "request", "hash")
#: What ends an operation, by the change and the state it leads to. What was given up may have no operation
#: under way: then a new one tells of it.
LOG: dict[tuple[type[JobChange], JobState], str] = {
    (kind, after): _LOG.replace("<before>", _before(kind, after)).replace("<outcome>", after)
    for kind in (changes.Ended, changes.Requeued)
    for after in kind.starts_from
} | {
    (changes.GivenUp, JobState.FAILED): _LOG.replace("<before>", "'submitting', 'exporting'").replace(
        "<outcome>", "failed"
    )
}
LOG_ANEW = f"""
    INSERT INTO operation
        (job_id, attempt, intent_at, accepted_at, image_id, ended_at, outcome, http_status, code, reason,
        request_id, image_hash)
    SELECT job.job_id, job.attempt, intent_at, accepted_at, image_id, given.at, 'failed', given.status,
        given.code, given.reason, coalesce(given.request, request_id), given.hash
    FROM {{given}} CROSS JOIN job WHERE {_THIS_ATTEMPT.format(before="'pending', 'ambiguous'")}"""
ADOPT = f"""
    INSERT INTO operation (job_id, attempt, intent_at)
    SELECT job.job_id, job.attempt, intent_at FROM {{given}} CROSS JOIN job
    WHERE {_THIS_ATTEMPT.format(before="'ambiguous'")}"""
ADOPT_FIELDS = ("job_id", "attempt")

# The trail shows a row never tried as attempt 0. One that is held may have been tried, on another day.
REJECT = f"""
    INSERT INTO operation (job_id, attempt, ended_at, outcome, code, reason)
    SELECT job.job_id, job.attempt, given.at, given.state, given.code, given.reason
    FROM {{given}} CROSS JOIN job
    WHERE job.job_id = given.job_id AND target_id = ? AND job.state = 'pending'
        AND (job.attempt = 0 OR next_at = {HELD})"""
REJECT_FIELDS = ("job_id", "at", "state", "code", "reason")

END = """
    UPDATE job SET state = given.state, finished_at = given.at
    FROM {given} WHERE job.job_id = given.job_id"""
END_ANEW = END.replace("given.at\n", f"given.at, operation_id = {_NEWEST}\n")
END_FIELDS = ("job_id", "state", "at")

_KEPT_FIRST_INTENT = "CASE WHEN given.sent OR first_intent_at IS NOT intent_at THEN first_intent_at END"
REQUEUE = f"""
    UPDATE job SET
        state = 'pending', next_at = given.next_at, attempt = job.attempt - given.uncounted,
        first_intent_at = {_KEPT_FIRST_INTENT}, {_FORGET_REQUEST}
    FROM {{given}} WHERE job.job_id = given.job_id"""
REQUEUE_FIELDS = ("job_id", "next_at", "uncounted", "sent")
SNOOZE = f"""
    UPDATE job SET
        state = 'pending', next_at = given.next_at, attempt = job.attempt - 1, operation_id = NULL,
        first_intent_at = {_KEPT_FIRST_INTENT}, {_FORGET_REQUEST}
    FROM {{given}}
    WHERE {_THIS_ATTEMPT.format(before=_before(changes.Snoozed, JobState.PENDING))}"""
FORGET = f"""
    DELETE FROM operation WHERE operation_id IN (
        SELECT job.operation_id FROM {{given}} CROSS JOIN job
        WHERE {_THIS_ATTEMPT.format(before=_before(changes.Snoozed, JobState.PENDING))})"""
FORGET_FIELDS = ("job_id", "attempt")
SNOOZE_FIELDS = ("job_id", "attempt", "next_at", "sent")
REOPEN = f"""
    UPDATE job SET
        state = 'pending', next_at = {AT_ONCE_OR_HELD.replace("job_id IN", "job.job_id IN")},
        finished_at = NULL, {_FORGET_REQUEST}
    FROM {{given}}
    WHERE {_THIS_ATTEMPT.format(before=_before(changes.Reopened, JobState.PENDING))}"""
REOPEN_FIELDS = ("job_id", "attempt")

SIZE = """
    UPDATE job SET size_gib = :size_gib
    WHERE target_id = :target_id AND volume_id = :volume_id AND coalesce(size_gib, -1) <> :size_gib"""


def set_sizes(db: sqlite3.Connection, target_id: int, size_gib_of: Mapping[str, int]) -> None:
    """Note the sizes of volumes, by volume id; those that the list does not name are passed over."""
    db.execute(UNIQUE_INDEXES["volume_id"])
    db.executemany(
        SIZE,
        [
            {"target_id": target_id, "volume_id": volume_id, "size_gib": size_gib}
            for volume_id, size_gib in size_gib_of.items()
        ],
    )


class Bulk(msgspec.Struct, frozen=True):
    """One kind of change, for any number of jobs of one target."""

    #: False: one is not allowed, and what was done is to be undone; of one alone, nothing was.
    make: Callable[[sqlite3.Connection, int, Sequence[Any]], bool]


def bulk_of(change: JobChange) -> Bulk:
    """The kind of this change. Raises StateError where no such change leads to that state."""
    try:
        return _BULKS[type(change), change.before, change.after]
    except KeyError:
        raise StateError(f"job {change.job.job_id}: {change.after} is no end") from None


def forbidden(db: sqlite3.Connection, change: JobChange) -> StateError:
    """The error for a change whose job is not where it starts from."""
    job = change.job
    row = db.execute("SELECT state, attempt, target_id FROM job WHERE job_id = ?", (job.job_id,)).fetchone()
    found = "there is no such job" if row is None else "it is {} in attempt {} of target {}".format(*row)
    return StateError(
        f"job {job.job_id} (volume {job.volume_id}): attempt {job.attempt} cannot become {change.after}:"
        f" {found}",
        hint="this is a fault of the program; the state file was not changed by it",
    )


def _start(db: sqlite3.Connection, target_id: int, started: Sequence[changes.Started]) -> bool:
    rows = [
        (
            job.job_id,
            job.attempt,
            job.image_id,
            job.request_id,
            job.accepted_at,
            job.deadline_at,
            job.size_gib,
        )
        for job in (each.job for each in started)
    ]
    if started[0].before is JobState.AMBIGUOUS:
        adopted = [row[:2] for row in rows]
        if _execute(db, ADOPT, ADOPT_FIELDS, adopted, target_id) != len(rows):
            return False
        return _execute(db, START_AGAIN, START_FIELDS, rows, target_id) == len(rows)
    return _execute(db, START, START_FIELDS, rows, target_id) == len(rows)


def _end(db: sqlite3.Connection, target_id: int, ended: Sequence[changes.Ended]) -> bool:
    return _log(db, target_id, ended) and _finish(db, END, ended)


def _give_up(db: sqlite3.Connection, target_id: int, given_up: Sequence[changes.GivenUp]) -> bool:
    if given_up[0].before in (JobState.PENDING, JobState.AMBIGUOUS):
        return _log(db, target_id, given_up, form=LOG_ANEW) and _finish(db, END_ANEW, given_up)
    return _log(db, target_id, given_up) and _finish(db, END, given_up)


def _finish(
    db: sqlite3.Connection,
    form: str,
    ended: Sequence[changes.Ended] | Sequence[changes.GivenUp] | Sequence[changes.Rejected],
) -> bool:
    ends = [(each.job.job_id, each.after.value, each.at_s) for each in ended]
    return _execute(db, form, END_FIELDS, ends) == len(ends)


def _reject(db: sqlite3.Connection, target_id: int, rejected: Sequence[changes.Rejected]) -> bool:
    rows = [
        (each.job.job_id, each.at_s, each.after.value, each.ending.code, each.ending.reason)
        for each in rejected
    ]
    return _execute(db, REJECT, REJECT_FIELDS, rows, target_id) == len(rows) and _finish(
        db, END_ANEW, rejected
    )


def _requeue(db: sqlite3.Connection, target_id: int, requeued: Sequence[changes.Requeued]) -> bool:
    if not _log(db, target_id, requeued):
        return False
    # Where nothing can have been sent, the time of a first intent is forgotten: there was none.
    rows = [(each.job.job_id, each.next_at, not each.counted, each.sent or each.counted) for each in requeued]
    return _execute(db, REQUEUE, REQUEUE_FIELDS, rows) == len(rows)


def _snooze(db: sqlite3.Connection, target_id: int, snoozed: Sequence[changes.Snoozed]) -> bool:
    these = [(each.job.job_id, each.job.attempt) for each in snoozed]
    if _execute(db, FORGET, FORGET_FIELDS, these, target_id) != len(these):
        return False
    rows = [(each.job.job_id, each.job.attempt, each.next_at, each.sent) for each in snoozed]
    return _execute(db, SNOOZE, SNOOZE_FIELDS, rows, target_id) == len(rows)


def _reopen(db: sqlite3.Connection, target_id: int, reopened: Sequence[changes.Reopened]) -> bool:
    rows = [(each.job.job_id, each.job.attempt) for each in reopened]
    return _execute(db, REOPEN, REOPEN_FIELDS, rows, target_id) == len(rows)


def _hold(db: sqlite3.Connection, target_id: int, held: Sequence[changes.Held]) -> bool:
    for each in held:
        resources.hold(db, target_id, each.job.job_id, each.needs)
    return True


#: By kind, and the states before and after. Some kinds have statements of their own for each state before.
_BULKS: dict[tuple[type[JobChange], JobState, JobState], Bulk] = {
    (kind, before, after): bulk
    for kind, make, is_apart in (
        (changes.Rejected, _reject, False),
        (changes.Started, _start, True),
        (changes.Ended, _end, False),
        (changes.GivenUp, _give_up, True),
        (changes.Requeued, _requeue, False),
        (changes.Snoozed, _snooze, False),
        (changes.Reopened, _reopen, False),
        (changes.Held, _hold, False),
    )
    for after, befores in kind.starts_from.items()
    for bulk in (Bulk(make),)
    for before in JobState
    if (before in befores or not is_apart)
    for bulk in ((Bulk(make),) if is_apart else (bulk,))
}


def _log(
    db: sqlite3.Connection,
    target_id: int,
    ended: Sequence[changes.Ended] | Sequence[changes.GivenUp] | Sequence[changes.Requeued],
    *,
    form: str | None = None,
) -> bool:
    """Whether every operation is at its end now, with what the job knows of its answer."""
    rows = []
    for each in ended:
        why = each.ending
        words = (
            (None,) * 5 if why is None else (why.status, why.code, why.reason, why.request_id, why.image_hash)
        )
        rows.append((each.job.job_id, each.job.attempt, each.at_s, *words))
    form = form or LOG[type(ended[0]), ended[0].after]
    return _execute(db, form, LOG_FIELDS, rows, target_id) == len(rows)


def _execute(
    db: sqlite3.Connection, form: str, fields: Sequence[str], rows: Sequence[tuple[Any, ...]], *values: object
) -> int:
    """Execute the statement with `rows` for its table `given`; how many rows it changed."""
    if (in_bulk := getattr(db, "execute_bulk", None)) is not None:  # a database has a way of its own
        return int(in_bulk(form, tuple(fields), rows, *values))
    size = 1 << (len(rows) - 1).bit_length()
    filling = (None,) * len(fields) * (size - len(rows))
    statement = statement_for(form, tuple(fields), size)
    return db.execute(statement, (*chain.from_iterable(rows), *filling, *values)).rowcount


@lru_cache(maxsize=128)
def statement_for(form: str, fields: tuple[str, ...], rows: int) -> str:
    """The statement for this many rows."""
    names = ", ".join(f"column{place} AS {field}" for place, field in enumerate(fields, start=1))
    row = f"({', '.join('?' * len(fields))})"
    return form.format(given=f"(SELECT {names} FROM (VALUES {', '.join([row] * rows)})) AS given")
