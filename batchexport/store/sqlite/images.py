"""What the state file knows of images: those of a job's attempts, those that were there before, and removals.

Each removal is an operation, noted before it is sent in the state file that knows the image. The other tables
are made when they are first needed: files without them are of no older format.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from batchexport.changes import RemovalEnded
from batchexport.model import Job
from batchexport.store.records import KnownImages, Listing
from batchexport.store.reports import Removal
from batchexport.store.sqlite.claims import INTENT, claimed_by
from batchexport.store.sqlite.history import Ask
from batchexport.store.sqlite.schema import UNIQUE_INDEXES

#: Images of the job's name that were seen before the first request for it: not its own.
BEFORE_TABLE = """
    CREATE TABLE IF NOT EXISTS image_before (
        job_id INTEGER NOT NULL REFERENCES job,
        image_id TEXT NOT NULL,
        PRIMARY KEY (job_id, image_id)
    ) STRICT, WITHOUT ROWID"""
#: The attempt before which a job's name was looked for.
LOOKED_TABLE = """
    CREATE TABLE IF NOT EXISTS name_looked_up (
        job_id INTEGER PRIMARY KEY REFERENCES job,
        attempt INTEGER NOT NULL
    ) STRICT"""
#: The jobs up to this one whose names a list of all images was searched for.
LISTED_TABLE = """
    CREATE TABLE IF NOT EXISTS names_listed (
        target_id INTEGER PRIMARY KEY REFERENCES target,
        last_job_id INTEGER NOT NULL
    ) STRICT"""
#: Names that a job had while a request may have been sent for it.
EARLIER_TABLE = """
    CREATE TABLE IF NOT EXISTS earlier_name (
        job_id INTEGER NOT NULL REFERENCES job,
        image_name TEXT NOT NULL,
        PRIMARY KEY (job_id, image_name)
    ) STRICT, WITHOUT ROWID"""
TABLES = (BEFORE_TABLE, LOOKED_TABLE, LISTED_TABLE, EARLIER_TABLE)

ATTEMPTS = (
    "SELECT image_id, code FROM operation WHERE job_id = ? AND image_id IS NOT NULL ORDER BY operation_id"
)
_BEFORE = "SELECT image_id FROM image_before WHERE job_id = ?"
_LOOKED = "SELECT attempt FROM name_looked_up WHERE job_id = ?"
_EARLIER = "SELECT image_name FROM earlier_name WHERE job_id = ?"
_LISTED = "SELECT last_job_id FROM names_listed WHERE target_id = ?"
_NOTE = "INSERT OR IGNORE INTO image_before (job_id, image_id) VALUES (?, ?)"
_NOTE_LOOK = "INSERT OR REPLACE INTO name_looked_up (job_id, attempt) VALUES (?, ?)"
_NOTE_LIST = """
    INSERT OR REPLACE INTO names_listed (target_id, last_job_id)
    SELECT ?, coalesce(max(job_id), 0) FROM job"""
NOTE_NAMED = """
    INSERT OR IGNORE INTO image_before (job_id, image_id)
    SELECT job_id, json_extract(value, '$[1]') FROM json_each(?)
    JOIN job ON image_name = json_extract(value, '$[0]')
    WHERE target_id = ? AND attempt = 0 AND first_intent_at IS NULL"""
_ANY_UNLISTED = """
    SELECT 1 FROM job WHERE target_id = :target_id AND state = 'pending' AND attempt = 0
    AND job_id > :last AND instr(image_name, :run_id) = 0 LIMIT 1"""
_ANY_LISTED = """
    SELECT 1 FROM job WHERE target_id = :target_id AND state = 'pending' AND attempt = 0
    AND job_id <= :last AND instr(image_name, :run_id) = 0 LIMIT 1"""
#: The names of jobs never sent whose image came after the list of all images, and is nobody else's here.
_APPEARED = """
    SELECT image_name FROM json_each(?)
    JOIN job ON image_name = json_extract(value, '$[0]')
    WHERE target_id = ? AND state = 'pending' AND attempt = 0 AND first_intent_at IS NULL AND job_id <= ?
    AND NOT EXISTS (SELECT 1 FROM image_before AS known
        WHERE known.job_id = job.job_id AND known.image_id = json_extract(value, '$[1]'))
    AND NOT EXISTS (SELECT 1 FROM job AS other WHERE other.image_id = json_extract(value, '$[1]'))"""
#: What proves that an image of the name is the job's own counts no more: `attempts_before` outdates it.
_NOT_PROVED = "UPDATE job SET attempts_before = attempt WHERE job_id = ?"

#: What was found out of names counts no more for rows that have others; `was_named` tells what they had.
_OTHER_NAMES = "SELECT job_id FROM was_named JOIN main.job USING (job_id) WHERE image_name <> was_named.name"
_RENAMED = (
    f"""INSERT OR IGNORE INTO main.earlier_name (job_id, image_name)
        SELECT job_id, name FROM was_named WHERE tried AND job_id IN ({_OTHER_NAMES})""",
    f"DELETE FROM main.name_looked_up WHERE job_id IN ({_OTHER_NAMES})",
    f"DELETE FROM main.names_listed WHERE EXISTS ({_OTHER_NAMES})",
)

CLAIM_NAMED = INTENT.format(
    source="job",
    chosen="target_id = :target_id AND attempt = 0 AND first_intent_at IS NULL AND state = 'pending'"
    " AND image_name IN (SELECT value FROM json_each(:names)) ORDER BY job_id",
)


def make_tables(db: sqlite3.Connection) -> None:
    """Make the tables where they are missing."""
    for table in TABLES:
        db.execute(table)


def names_changed(db: sqlite3.Connection) -> None:
    """Rows have other names now than in the table `was_named`, which tells whether they were tried."""
    for statement in _RENAMED:
        db.execute(statement)


def known_images(db: sqlite3.Connection, job: Job) -> KnownImages:
    make_tables(db)
    looked = db.execute(_LOOKED, (job.job_id,)).fetchone()
    listed = db.execute(
        "SELECT last_job_id FROM names_listed JOIN job USING (target_id) WHERE job_id = ?", (job.job_id,)
    ).fetchone()
    was_looked_up = looked is not None and looked[0] > job.attempts_before
    was_listed = listed is not None and job.job_id <= listed[0] and job.attempts_before == 0
    return KnownImages(
        of_attempts=dict(db.execute(ATTEMPTS, (job.job_id,))),
        before=frozenset(image_id for (image_id,) in db.execute(_BEFORE, (job.job_id,))),
        earlier_names=frozenset(name for (name,) in db.execute(_EARLIER, (job.job_id,))),
        complete=was_looked_up or was_listed,
    )


def note_before(db: sqlite3.Connection, job_id: int, image_ids: Sequence[str]) -> None:
    make_tables(db)
    db.executemany(_NOTE, [(job_id, image_id) for image_id in image_ids])


def note_look(db: sqlite3.Connection, job: Job, image_ids: Sequence[str]) -> None:
    note_before(db, job.job_id, image_ids)
    db.execute(_NOTE_LOOK, (job.job_id, job.attempt))


def note_named(db: sqlite3.Connection, target_id: int, images: Sequence[tuple[str, str]]) -> None:
    make_tables(db)
    db.execute(UNIQUE_INDEXES["image_name"])
    db.execute(NOTE_NAMED, (json.dumps(images), target_id))


def note_list(db: sqlite3.Connection, target_id: int) -> None:
    make_tables(db)
    db.execute(_NOTE_LIST, (target_id,))


def _last_listed(db: sqlite3.Connection, target_id: int) -> int:
    make_tables(db)
    row = db.execute(_LISTED, (target_id,)).fetchone()
    return 0 if row is None else int(row[0])


def listing(db: sqlite3.Connection, target_id: int, run_id: str) -> Listing:
    """What was listed; names that hold `run_id` prove by themselves whose an image is."""
    values: dict[str, Any] = {
        "target_id": target_id,
        "last": _last_listed(db, target_id),
        "run_id": run_id,
    }
    return Listing(
        last_job_id=values["last"],
        any_unlisted=db.execute(_ANY_UNLISTED, values).fetchone() is not None,
        any_listed=db.execute(_ANY_LISTED, values).fetchone() is not None,
    )


def claim_named(db: sqlite3.Connection, target_id: int, names: Sequence[str], server_now: float) -> list[Job]:
    db.execute(UNIQUE_INDEXES["image_name"])
    values = {"target_id": target_id, "names": json.dumps(names), "server_now": server_now}
    return claimed_by(db, CLAIM_NAMED, values)


def claim_appeared(
    db: sqlite3.Connection, target_id: int, named: Sequence[tuple[str, str]], server_now: float
) -> list[Job]:
    db.execute(UNIQUE_INDEXES["image_name"])
    values = (json.dumps(named), target_id, _last_listed(db, target_id))
    if not (names := [name for (name,) in db.execute(_APPEARED, values)]):
        return []
    jobs = claim_named(db, target_id, names, server_now)
    db.executemany(_NOT_PROVED, [(job.job_id,) for job in jobs])
    return [replace(job, attempts_before=job.attempt) for job in jobs]


_ASK_REMOVAL = """
    INSERT INTO operation (job_id, kind, subject, run_id, intent_at) VALUES (?, 'delete_image', ?, ?, ?)"""
_ANSWER_REMOVAL = "UPDATE operation SET ended_at = ?, outcome = ?, reason = ? WHERE operation_id = ?"
_SETTLE_REMOVALS = """
    UPDATE operation SET ended_at = ?, outcome = ?, reason = ?
    WHERE kind = 'delete_image' AND subject = ? AND ended_at IS NULL"""
_REMOVED = """
    SELECT DISTINCT subject FROM operation WHERE kind = 'delete_image' AND outcome IN ('removed', 'gone')"""
_REMOVALS = """
    SELECT volume_id, subject, run_id, operation.intent_at, ended_at, outcome, reason
    FROM operation JOIN job USING (job_id) WHERE kind = 'delete_image' ORDER BY operation.operation_id"""


def intend_removal(db: sqlite3.Connection, job_id: int, image_id: str, *, run_id: str, at_s: float) -> int:
    """Note that the image is about to be deleted; the number of the operation."""
    return int(db.execute(_ASK_REMOVAL, (job_id, image_id, run_id, at_s)).lastrowid or 0)


def end_removal(db: sqlite3.Connection, ended: RemovalEnded) -> None:
    """Note what came of a removal, or of all of an image that are open."""
    if ended.operation_id is not None:
        db.execute(_ANSWER_REMOVAL, (ended.at_s, ended.outcome, ended.reason, ended.operation_id))
    if ended.image_id is not None:
        db.execute(_SETTLE_REMOVALS, (ended.at_s, ended.outcome, ended.reason, ended.image_id))


def removed_image_ids(ask: Ask) -> frozenset[str]:
    """The images that were seen to be gone, asked through `ask`, which runs one statement."""
    return frozenset(image_id for (image_id,) in ask(_REMOVED))


def removals(ask: Ask) -> list[Removal]:
    """All that was noted, oldest first, asked through `ask`."""
    return [
        Removal(
            volume_id=row[0],
            image_id=row[1],
            run_id=row[2],
            asked_at=row[3],
            ended_at=row[4],
            outcome=row[5],
            words=row[6],
        )
        for row in ask(_REMOVALS)
    ]
