"""A list that has changed since its state file was made: what is new, what is gone, what is different.

Rows are known by target and volume. The list as it is now stands in a state file of its own, loaded and
checked like any other; the two are compared by SQLite, on disk, so that memory does not grow with them.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from batchexport.errors import ListChangedError, StateInUseError
from batchexport.store import volume_names
from batchexport.store.faults import reading, writing
from batchexport.store.opening import open_for_reading, open_for_work
from batchexport.store.schema import AT_ONCE_OR_HELD, NOT_LISTED, UNIQUE_INDEXES
from batchexport.store.untried import holder

#: Before a name that the template made, in the state file of the new list: that it differs is no change.
MADE = "\x01"
#: Rows that were refused are named up to here, and counted beyond.
MOST_REFUSED = 1000

_SENT = "old.state IN ('submitting', 'exporting', 'succeeded', 'ambiguous')"
_NEW_NAME = f"ltrim(new.image_name, '{MADE}')"
_OTHER_NAME = f"(substr(new.image_name, 1, 1) <> '{MADE}' AND new.image_name <> old.image_name)"
#: What may still change of a row that was sent: it asks nothing of the image.
_OF_IMAGE = "json_remove(coalesce({}.options, '{{}}'), '$.timeout_s', '$.in_use', '$.force')"
_OTHER_IMAGE = f"({_OF_IMAGE.format('new')} <> {_OF_IMAGE.format('old')} OR {_OTHER_NAME})"
_WAS_LEFT_OUT = f"""(old.state = 'skipped' AND
    (SELECT code FROM main.attempt WHERE attempt_id = old.ending_id) IS '{NOT_LISTED}')"""
_BOTH = """fresh.job AS new JOIN place ON place.fresh_id = new.target_id
    {} JOIN main.job AS old ON old.volume_id = new.volume_id AND old.target_id = place.target_id"""

_PLACES = """
    CREATE TEMP TABLE place AS SELECT theirs.target_id AS fresh_id, ours.target_id
    FROM fresh.target AS theirs LEFT JOIN main.target AS ours
        ON theirs.cloud IS ours.cloud AND theirs.region IS ours.region AND theirs.project IS ours.project"""
_LOOK = (
    "CREATE TEMP TABLE added AS SELECT new.job_id AS fresh_id"
    f" FROM {_BOTH.format('LEFT')} WHERE old.job_id IS NULL ORDER BY new.job_id",
    "CREATE TEMP TABLE returned AS SELECT old.job_id, new.job_id AS fresh_id"
    f" FROM {_BOTH.format('')} WHERE {_WAS_LEFT_OUT}",
    f"""CREATE TEMP TABLE changed AS
        SELECT old.job_id, new.job_id AS fresh_id, old.state <> 'pending' AS revived
        FROM {_BOTH.format("")}
        WHERE NOT {_SENT} AND NOT {_WAS_LEFT_OUT} AND (new.options IS NOT old.options OR {_OTHER_NAME})""",
    f"""CREATE TEMP TABLE refused AS SELECT new.line, old.volume_id, old.state
        FROM {_BOTH.format("")} WHERE {_SENT} AND {_OTHER_IMAGE} ORDER BY new.line""",
    f"""CREATE TEMP TABLE gone AS
        SELECT old.job_id, old.attempt = 0 AND NOT {_SENT} AS unsent FROM main.job AS old
        LEFT JOIN place ON place.target_id = old.target_id
        LEFT JOIN fresh.job AS new ON new.volume_id = old.volume_id AND new.target_id = place.fresh_id
        WHERE new.job_id IS NULL AND NOT {_WAS_LEFT_OUT}""",
)
_COUNTS = """
    SELECT (SELECT count(*) FROM added) + (SELECT count(*) FROM returned), (SELECT count(*) FROM changed),
        (SELECT count(*) FROM gone WHERE unsent), (SELECT count(*) FROM gone WHERE NOT unsent),
        (SELECT count(*) FROM refused)"""
_REFUSED = f"SELECT line, volume_id, state FROM refused LIMIT {MOST_REFUSED}"

_NEW_TARGETS = """
    INSERT INTO main.target (cloud, region, project)
    SELECT cloud, region, project FROM fresh.target JOIN place ON fresh_id = fresh.target.target_id
    WHERE place.target_id IS NULL ORDER BY fresh_id"""
_NEW_TALLIES = """
    INSERT OR IGNORE INTO main.tally (target_id, state)
    SELECT main.target.target_id, fresh.tally.state FROM main.target, fresh.tally"""
_APPLY = (
    # Lines are where they are now; a name that the template makes is made anew while nothing was sent.
    f"UPDATE main.job AS old SET line = new.line FROM {_BOTH.format('').split(' JOIN main')[0]}"
    " WHERE old.volume_id = new.volume_id AND old.target_id = place.target_id AND old.line <> new.line",
    f"""UPDATE main.job AS old SET image_name = {_NEW_NAME} FROM {_BOTH.format("").split(" JOIN main")[0]}
        WHERE old.volume_id = new.volume_id AND old.target_id = place.target_id
            AND old.attempt = 0 AND NOT {_SENT} AND {_NEW_NAME} <> old.image_name""",
    f"""UPDATE main.job AS old SET options = new.options,
            image_name = CASE WHEN {_OTHER_NAME} THEN new.image_name ELSE old.image_name END
        FROM (SELECT * FROM changed UNION ALL SELECT *, 0 FROM returned) AS one
            JOIN fresh.job AS new ON new.job_id = one.fresh_id
        WHERE old.job_id = one.job_id""",
    f"""UPDATE main.job SET state = 'pending', next_at = {AT_ONCE_OR_HELD}, finished_at = NULL,
            ending_id = NULL, size_gib = NULL, attempts_before = attempt
        WHERE job_id IN (SELECT job_id FROM changed WHERE revived UNION ALL SELECT job_id FROM returned)""",
    f"""INSERT INTO main.attempt (job_id, attempt, ended_at, outcome, code, reason)
        SELECT job_id, 0, :now, 'skipped', '{NOT_LISTED}', 'no longer in the list' FROM gone WHERE unsent""",
    """UPDATE main.job SET state = 'skipped', next_at = 0, finished_at = :now, ending_id =
            (SELECT max(attempt_id) FROM main.attempt WHERE main.attempt.job_id = main.job.job_id)
        WHERE job_id IN (SELECT job_id FROM gone WHERE unsent)""",
    f"""INSERT INTO main.job (target_id, options, line, volume_id, image_name)
        SELECT place.target_id, new.options, new.line, new.volume_id, {_NEW_NAME}
        FROM added JOIN fresh.job AS new ON new.job_id = added.fresh_id
        JOIN place ON place.fresh_id = new.target_id ORDER BY new.job_id""",
    """UPDATE main.tally SET jobs = jobs + (
            SELECT count(*) FROM added JOIN fresh.job AS new ON new.job_id = added.fresh_id
            JOIN place ON place.fresh_id = new.target_id WHERE place.target_id = main.tally.target_id)
        WHERE state = 'pending'""",
    # What servers are stopped for was agreed to for the rows as they were.
    """UPDATE main.run SET job_count = (SELECT count(*) FROM main.job),
            list_name = (SELECT list_name FROM fresh.run),
            stop_rows = (SELECT count(*) FROM main.job WHERE json_extract(options, '$.in_use') = 'stop'),
            may_stop = may_stop AND NOT EXISTS (SELECT 1 FROM added) AND NOT EXISTS (SELECT 1 FROM changed)
                AND NOT EXISTS (SELECT 1 FROM returned)""",
)
# A row that is refused is told again the next time: the state file is not of this list yet.
_SETTLED = """UPDATE main.run SET list_sha256 = (SELECT list_sha256 FROM fresh.run)
    WHERE NOT EXISTS (SELECT 1 FROM refused)"""
_SHARED_NAME = """
    SELECT image_name FROM main.job GROUP BY target_id, image_name HAVING count(*) > 1 LIMIT 1"""


class RefusedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was sent already and now asks for another image."""

    line: int  #: of the list as it is now
    volume_id: str
    state: str


class Differences(msgspec.Struct, frozen=True, kw_only=True):
    """How a list differs from the rows of its state file."""

    new: int = 0
    changed: int = 0  #: rows of which nothing is under way or there: they take their new values
    left_out: int = 0  #: no longer in the list, and nothing was ever sent for them
    kept: int = 0  #: no longer in the list, but something was sent for them
    refused: int = 0  #: changed after they were sent: the change is not taken
    first_refused: tuple[RefusedRow, ...] = ()


def compare(state_path: Path, fresh_path: Path) -> Differences:
    """How the list that was loaded into `fresh_path` differs. Changes neither file."""
    with closing(open_for_reading(state_path)) as db, reading(state_path):
        _attach(db, fresh_path, mode="ro")
        return _look(db)


def take_in(state_path: Path, fresh_path: Path) -> Differences:
    """Bring the state file to the list that was loaded into `fresh_path`, and tell what was different.

    Raises StateInUseError while somebody works on it, and ListChangedError where two rows would share an
    image name; then nothing is changed.
    """
    with closing(open_for_work(state_path)) as db, writing(state_path):
        _attach(db, fresh_path, mode="rw")
        db.execute("BEGIN IMMEDIATE")
        try:
            if (owner := holder(db)) is not None:
                raise StateInUseError(
                    f"the list has changed, but the state file is in use by {owner}",
                    hint="wait for it to end, or stop it, then run the same command again",
                )
            db.execute(UNIQUE_INDEXES["volume_id"])
            found = _look(db)
            _apply(db, found)
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        return found


def _attach(db: sqlite3.Connection, fresh_path: Path, *, mode: str) -> None:
    db.execute("ATTACH ? AS fresh", (f"{fresh_path.absolute().as_uri()}?mode={mode}",))


def _look(db: sqlite3.Connection) -> Differences:
    db.execute(_PLACES)
    for statement in _LOOK:
        db.execute(statement)
    new, changed, left_out, kept, refused = db.execute(_COUNTS).fetchone()
    named = db.execute(_REFUSED).fetchall()
    return Differences(
        new=new,
        changed=changed,
        left_out=left_out,
        kept=kept,
        refused=refused,
        first_refused=tuple(RefusedRow(line=row[0], volume_id=row[1], state=row[2]) for row in named),
    )


def _apply(db: sqlite3.Connection, found: Differences) -> None:
    # Names may change places: only all of them together must differ.
    db.execute("DROP INDEX IF EXISTS job_image_name")
    db.execute(_NEW_TARGETS)
    db.execute(_NEW_TALLIES)
    db.execute("DROP TABLE place")
    db.execute(_PLACES)
    values: dict[str, Any] = {"now": time.time()}
    for statement in (*_APPLY, _SETTLED):
        db.execute(statement, values)
    volume_names.take_in(db)
    if (shared := db.execute(_SHARED_NAME).fetchone()) is not None:
        raise ListChangedError(
            f"the list gives two rows the image name {shared[0]!r}, one of which was sent already or is"
            " no longer in the list; nothing was started",
            hint="give the row another image_name",
        )
