"""Every change of a job, each as one function on a connection inside a transaction.

A change names the states it may start from, and the attempt it speaks of; where the row is elsewhere nothing
is changed and StateError says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from batchexport.errors import StateError
from batchexport.model import ALLOWED_CHANGES, FINAL_STATES, Accepted, Ending, Job, JobState
from batchexport.store.queries import JOB_COLUMNS, job_of
from batchexport.store.schema import (
    AT_ONCE_OR_HELD,
    HELD,
    IS_READY,
    IS_RETRYABLE,
    IS_WAITING,
    NOT_LISTED,
    UNIQUE_INDEXES,
)

CLAIM = f"""
    UPDATE job SET
        state = 'submitting', attempt = attempt + 1, next_at = 0,
        intent_at = :server_now, first_intent_at = coalesce(first_intent_at, :server_now),
        image_id = NULL, request_id = NULL, accepted_at = NULL, deadline_at = NULL,
        finished_at = NULL, ending_id = NULL
    WHERE state = 'pending' AND job_id IN ({{chosen}})
    RETURNING {JOB_COLUMNS}"""

CLAIM_WAITING = CLAIM.format(
    chosen=f"SELECT job_id FROM job WHERE target_id = :target_id AND {IS_WAITING} AND next_at <= :now"
    " ORDER BY next_at, job_id LIMIT :limit"
)
CLAIM_READY = CLAIM.format(
    chosen=f"SELECT job_id FROM job WHERE target_id = :target_id AND {IS_READY} ORDER BY job_id LIMIT :limit"
)

_THIS_ATTEMPT = "job_id = ? AND target_id = ? AND attempt = ? AND state IN ({before})"


def before(after: JobState, *, without: frozenset[JobState] = frozenset()) -> str:
    """The states that `after` may follow, as SQL."""
    states = {state for state, allowed in ALLOWED_CHANGES.items() if after in allowed} - without
    return ", ".join(f"'{state}'" for state in sorted(states))


ACCEPT = f"""
    UPDATE job SET
        state = 'exporting', image_id = ?, request_id = ?, accepted_at = ?, deadline_at = ?,
        size_gib = coalesce(?, size_gib), finished_at = NULL, ending_id = NULL
    WHERE {_THIS_ATTEMPT.format(before=before(JobState.EXPORTING))}"""

_LOG = f"""
    INSERT INTO attempt
        (job_id, attempt, intent_at, accepted_at, image_id, ended_at, outcome, http_status, code, reason,
        request_id, image_hash)
    SELECT job_id, attempt, intent_at, accepted_at, image_id, ?, ?, ?, ?, ?, coalesce(?, request_id), ?
    FROM job WHERE {_THIS_ATTEMPT}"""

NEVER_SENT = frozenset({JobState.PENDING})
#: Only a person ends such a row.
BY_HAND = frozenset({JobState.AMBIGUOUS})
# A row that no attempt was made of ends by `refuse`, which says so.
LOG = {state: _LOG.format(before=before(state, without=NEVER_SENT | BY_HAND)) for state in FINAL_STATES}
LOG_GIVEN_UP = _LOG.format(before=before(JobState.FAILED, without=NEVER_SENT))
# From a final state back to pending there is only `retry`, which speaks of no attempt.
LOG[JobState.PENDING] = _LOG.format(before=before(JobState.PENDING, without=FINAL_STATES))

# The trail shows a row never tried as attempt 0. One that is held may have been tried, on another day.
# Whoever gives up on a row may do so between two attempts.
DROP = """
    INSERT INTO attempt (job_id, attempt, ended_at, outcome, code, reason)
    SELECT job_id, attempt, ?, ?, ?, ? FROM job
    WHERE job_id = ? AND target_id = ? AND state = 'pending'"""
REFUSE = f"{DROP} AND (attempt = 0 OR next_at = {HELD})"

END = "UPDATE job SET state = ?, finished_at = ?, ending_id = ? WHERE job_id = ?"

PUT_BACK = """
    UPDATE job SET
        state = 'pending', next_at = ?, attempt = attempt - ?, ending_id = ?, intent_at = NULL,
        first_intent_at = CASE WHEN ? OR first_intent_at IS NOT intent_at THEN first_intent_at END,
        image_id = NULL, request_id = NULL, accepted_at = NULL, deadline_at = NULL
    WHERE job_id = ?"""
# An accepted attempt has an image that must not be forgotten: only what was never sent leaves no trace.
UNSEND = f"{PUT_BACK} AND target_id = ? AND attempt = ? AND state = 'submitting'"

# A row that was never sent is looked at anew: its size is what says that somebody has.
RETRY = f"""
    UPDATE job SET
        state = 'pending', next_at = {AT_ONCE_OR_HELD}, attempts_before = attempt, intent_at = NULL,
        image_id = NULL, request_id = NULL, accepted_at = NULL, deadline_at = NULL, finished_at = NULL,
        size_gib = CASE attempt WHEN 0 THEN NULL ELSE size_gib END
    WHERE {IS_RETRYABLE} AND state = ? AND target_id = ? AND NOT (state = 'skipped' AND EXISTS (
        SELECT 1 FROM attempt WHERE attempt_id = ending_id AND code = '{NOT_LISTED}'))"""

REOPEN = f"""
    UPDATE job SET
        state = 'pending', next_at = {AT_ONCE_OR_HELD}, intent_at = NULL, image_id = NULL, request_id = NULL,
        accepted_at = NULL, deadline_at = NULL, finished_at = NULL
    WHERE job_id = ? AND target_id = ? AND attempt = ? AND state = 'ambiguous'"""

SIZE = """
    UPDATE job SET size_gib = :size_gib
    WHERE target_id = :target_id AND volume_id = :volume_id AND coalesce(size_gib, -1) <> :size_gib"""


def claim(db: sqlite3.Connection, target_id: int, limit: int, *, now: float, server_now: float) -> list[Job]:
    """At most `limit` jobs, now submitting: those whose wait is over, then those that may go at once."""
    values = {"target_id": target_id, "now": now, "server_now": server_now}
    return claimed_by((CLAIM_WAITING, CLAIM_READY), db, limit, values)


def claimed_by(
    statements: Sequence[str], db: sqlite3.Connection, limit: int, values: Mapping[str, object]
) -> list[Job]:
    """At most `limit` jobs that these statements claim one after the other."""
    jobs: list[Job] = []
    for statement in statements:
        room = limit - len(jobs)
        if room > 0:
            rows = db.execute(statement, {**values, "limit": room}).fetchall()
            jobs += sorted(map(job_of, rows), key=lambda job: job.job_id)
    return jobs


def accept(
    db: sqlite3.Connection, target_id: int, job: Job, accepted: Accepted, *, at: float, deadline_at: float
) -> None:
    """The cloud took the job: its image is under way."""
    values = (accepted.image_id, accepted.request_id, at, deadline_at, accepted.size_gib)
    if db.execute(ACCEPT, (*values, job.job_id, target_id, job.attempt)).rowcount != 1:
        raise _forbidden(db, job, JobState.EXPORTING)


def end(
    db: sqlite3.Connection, target_id: int, job: Job, state: JobState, ending: Ending, *, at: float
) -> None:
    """The job is over for this run, unless `retry` brings it back."""
    ending_id = _log(db, target_id, job, state, ending, at=at)
    db.execute(END, (state, at, ending_id, job.job_id))


def give_up(db: sqlite3.Connection, target_id: int, job: Job, ending: Ending, *, at: float) -> None:
    """A job that was sent has failed, because somebody gave it up."""
    ending_id = _log(db, target_id, job, JobState.FAILED, ending, at=at, statement=LOG_GIVEN_UP)
    db.execute(END, (JobState.FAILED, at, ending_id, job.job_id))


def refuse(
    db: sqlite3.Connection, target_id: int, job: Job, state: JobState, ending: Ending, *, at: float
) -> None:
    """A job that was never tried, or is held, is over: no attempt could succeed."""
    _refuse(db, REFUSE, target_id, job, state, ending, at=at)


def drop(db: sqlite3.Connection, target_id: int, job: Job, ending: Ending, *, at: float) -> None:
    """A pending job has failed, because somebody gave it up."""
    _refuse(db, DROP, target_id, job, JobState.FAILED, ending, at=at)


def _refuse(
    db: sqlite3.Connection,
    statement: str,
    target_id: int,
    job: Job,
    state: JobState,
    ending: Ending,
    *,
    at: float,
) -> None:
    cursor = db.execute(statement, (at, state, ending.code, ending.reason, job.job_id, target_id))
    if cursor.rowcount != 1:
        raise _forbidden(db, job, state)
    db.execute(END, (state, at, cursor.lastrowid, job.job_id))


def put_back(
    db: sqlite3.Connection,
    target_id: int,
    job: Job,
    ending: Ending | None,
    *,
    next_at: float,
    at: float,
    counted: bool,
    sent: bool,
) -> None:
    """The job waits for another attempt. Uncounted and without an ending, the attempt leaves no trace.

    Where nothing can have been sent, the time of a first intent is forgotten: there was none.
    """
    if counted or ending is not None:
        ending_id = _log(db, target_id, job, JobState.PENDING, ending, at=at)
        db.execute(PUT_BACK, (next_at, not counted, ending_id, sent or counted, job.job_id))
    elif db.execute(UNSEND, (next_at, 1, None, sent, job.job_id, target_id, job.attempt)).rowcount != 1:
        raise _forbidden(db, job, JobState.PENDING)


def retry(db: sqlite3.Connection, target_id: int, states: Iterable[JobState]) -> int:
    """How many jobs of the target in these final states are pending again with a full allowance."""
    return sum(db.execute(RETRY, (state, target_id)).rowcount for state in states)


def reopen(db: sqlite3.Connection, target_id: int, job: Job) -> None:
    """The images that made the job ambiguous are gone: it may be sent again."""
    if db.execute(REOPEN, (job.job_id, target_id, job.attempt)).rowcount != 1:
        raise _forbidden(db, job, JobState.PENDING)


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


def set_rate(db: sqlite3.Connection, target_id: int, requests_per_second: float) -> None:
    """Note the rate that the cloud allows."""
    db.execute(
        "UPDATE target SET requests_per_second = ? WHERE target_id = ?", (requests_per_second, target_id)
    )


def _log(
    db: sqlite3.Connection,
    target_id: int,
    job: Job,
    outcome: JobState,
    ending: Ending | None,
    *,
    at: float,
    statement: str | None = None,
) -> int | None:
    """The id of the new line of the audit trail, with what the row knows of the attempt."""
    words = (
        (ending.status, ending.code, ending.reason, ending.request_id, ending.image_hash)
        if ending
        else (None,) * 5
    )
    cursor = db.execute(statement or LOG[outcome], (at, outcome, *words, job.job_id, target_id, job.attempt))
    if cursor.rowcount != 1:
        raise _forbidden(db, job, outcome)
    return cursor.lastrowid


def _forbidden(db: sqlite3.Connection, job: Job, after: JobState) -> StateError:
    row = db.execute("SELECT state, attempt, target_id FROM job WHERE job_id = ?", (job.job_id,)).fetchone()
    found = "there is no such job" if row is None else "it is {} in attempt {} of target {}".format(*row)
    return StateError(
        f"job {job.job_id} (volume {job.volume_id}): attempt {job.attempt} cannot become {after}: {found}",
        hint="this is a fault of the program; the state file was not changed by it",
    )
