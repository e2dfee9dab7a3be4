"""The way of a state file from an older format to the present one, whole or not at all."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence

import msgspec

from batchexport.store.owner import Owner, is_alive, this_process, why_not
from batchexport.store.sqlite.schema import (
    FORMAT_1_TABLES,
    OPERATION_INDEXES,
    OPERATION_TABLE,
    RESOURCE_INDEXES,
    RESOURCE_JOB_TABLE,
)

_HAS_REMOVALS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'removal'"
_TAKE_REMOVALS = """
    INSERT INTO operation (job_id, kind, subject, run_id, intent_at, ended_at, outcome, reason)
    SELECT job_id, 'delete_image', image_id, run_id, asked_at, ended_at, outcome, words
    FROM removal ORDER BY removal_id"""

#: As it was in format 2.
_RESOURCE_TABLE = """CREATE TABLE resource (
        target_id INTEGER NOT NULL REFERENCES target,
        kind TEXT NOT NULL DEFAULT 'server',
        subject_id TEXT NOT NULL,
        name TEXT,
        state TEXT NOT NULL DEFAULT 'idle' CHECK (
            state = 'idle' OR state = 'acquiring' OR state = 'held' OR state = 'releasing'
            OR state = 'released' OR state = 'lost'),
        depends_on TEXT,
        status_before TEXT,
        acquiring_at REAL,
        held_at REAL,
        released_at REAL,
        note TEXT,
        PRIMARY KEY (target_id, kind, subject_id)
    ) STRICT, WITHOUT ROWID"""

#: Statements that lead from the format of their key to the next.
STEPS: Mapping[int, Sequence[str]] = {
    # Attempts were written when they ended: those under way become operations with what the job knows.
    1: (
        OPERATION_TABLE,
        """INSERT INTO operation
            (operation_id, job_id, attempt, intent_at, accepted_at, ended_at, outcome, image_id, http_status,
            code, reason, request_id, image_hash)
        SELECT attempt_id, job_id, attempt, intent_at, accepted_at, ended_at, outcome, image_id, http_status,
            code, reason, request_id, image_hash
        FROM attempt ORDER BY attempt_id""",
        "ALTER TABLE job RENAME COLUMN ending_id TO operation_id",
        """INSERT INTO operation (job_id, attempt, intent_at)
        SELECT job_id, attempt, intent_at FROM job
        WHERE (state = 'submitting' OR state = 'exporting') ORDER BY job_id""",
        """UPDATE job SET operation_id = operation.operation_id FROM operation
        WHERE operation.job_id = job.job_id AND ended_at IS NULL""",
        _RESOURCE_TABLE,
        """INSERT INTO resource
            (target_id, subject_id, name, state, status_before, acquiring_at, held_at, released_at, note)
        SELECT target_id, server_id, name,
            CASE state WHEN 'untouched' THEN 'idle' WHEN 'stopping' THEN 'acquiring' WHEN 'down' THEN 'held'
                WHEN 'starting' THEN 'releasing' WHEN 'up' THEN 'released' ELSE 'lost' END,
            status_before, stopping_at, down_at, up_at, note
        FROM server""",
        RESOURCE_JOB_TABLE,
        "INSERT INTO resource_job (job_id, subject_id) SELECT job_id, server_id FROM job_server",
        "DROP TABLE attempt",
        "DROP TABLE server",
        "DROP TABLE job_server",
        *FORMAT_1_TABLES,
        *OPERATION_INDEXES,
        *RESOURCE_INDEXES,
    ),
    # Resources that we create have an id of ours before the cloud gives them one; jobs have priorities.
    2: (
        *(
            f"ALTER TABLE resource ADD COLUMN {column}"
            for column in ("cloud_id TEXT", "volume_id TEXT", "size_gib INTEGER")
        ),
        "ALTER TABLE job ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
    ),
}


def migrate(db: sqlite3.Connection, *, to: int, is_copy: bool = False) -> None:
    """Bring an older file to format `to`, in one transaction.

    Raises StateInUseError while a process works on it, which knows only the older format; not of a copy.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        # Read under the lock: another process may just have done it.
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version < to and not is_copy:
            _check_idle(db)
        for step in range(version, to):
            for statement in STEPS[step]:
                db.execute(statement)
            if step == 1 and db.execute(_HAS_REMOVALS).fetchone():
                db.execute(_TAKE_REMOVALS)
                db.execute("DROP TABLE removal")
            db.execute(f"PRAGMA user_version = {step + 1}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _check_idle(db: sqlite3.Connection) -> None:
    now = time.time()
    here = this_process(now=now)
    for text, lease_until in db.execute("SELECT owner, lease_until FROM target WHERE owner IS NOT NULL"):
        try:
            owner = msgspec.json.decode(text, type=Owner)
        except msgspec.DecodeError:
            continue  # whoever takes the target says what is wrong with it
        alive = is_alive(owner, here=here)
        if (refusal := why_not(owner, lease_until=lease_until, now=now, alive=alive)) is not None:
            raise refusal
