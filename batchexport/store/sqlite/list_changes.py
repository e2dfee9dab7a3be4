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

from batchexport.errors import ListChangedError, StateInUseError
from batchexport.store.records import Differences, RefusedRow
from batchexport.store.sqlite import images, labels
from batchexport.store.sqlite.connection import open_for_reading, open_for_work
from batchexport.store.sqlite.files import holder
from batchexport.store.sqlite.schema import AT_ONCE_OR_HELD, NOT_LISTED, UNIQUE_INDEXES
from batchexport.store.sqlite.sqlite_errors import reading, writing

#: Before a name that the template made, in the state file of the new list: that it differs is no change.
MADE = "\x01"
#: Rows that were refused are named up to here, and counted beyond.
MOST_REFUSED = 1000

_SENT = "old.state IN ('submitting', 'exporting', 'succeeded', 'ambiguous')"
_NEW_NAME = f"ltrim(new.image_name, '{MADE}')"
_OTHER_NAME = f"(substr(new.image_name, 1, 1) <> '{MADE}' AND new.image_name <> old.image_name)"
#: What may still change of a row that was sent: it asks nothing of the image.
_OF_IMAGE = (
    "json_remove(coalesce({}.options, '{{}}'),"
    " '$.timeout_s', '$.priority', '$.in_use', '$.force', '$.deliver')"
)
_OTHER_IMAGE = f"(new.options IS NOT old.options AND {_OF_IMAGE.format('new')} <> {_OF_IMAGE.format('old')})"

_PLACES = """
    CREATE TEMP TABLE place AS SELECT theirs.target_id AS fresh_id, ours.target_id
    FROM fresh.target AS theirs LEFT JOIN main.target AS ours
        ON theirs.cloud IS ours.cloud AND theirs.region IS ours.region AND theirs.project IS ours.project"""
#: Every row of the list, with the job that it is, and what is different: one pass over both. In the order of
#: the jobs, so that what is changed later is changed page by page.
_PAIRS = f"""
    CREATE TEMP TABLE pair AS
    SELECT new.job_id AS fresh_id, old.job_id, new.line, new.line <> old.line AS moved, {_SENT} AS sent,
        old.state = 'skipped' AND (SELECT code FROM main.operation WHERE operation_id = old.operation_id)
            IS '{NOT_LISTED}' AS was_left_out,
        new.options IS NOT old.options OR {_OTHER_NAME} AS differs,
        {_OTHER_IMAGE} OR {_OTHER_NAME} AS asks_otherwise,
        old.attempt = 0 AND old.first_intent_at IS NULL AND {_NEW_NAME} <> old.image_name AS renamed,
        old.state <> 'pending' AS ended
    FROM fresh.job AS new JOIN place ON place.fresh_id = new.target_id
    LEFT JOIN main.job AS old ON old.volume_id = new.volume_id AND old.target_id = place.target_id
    ORDER BY old.job_id, new.job_id"""
_LOOK = (
    _PLACES,
    _PAIRS,
    "CREATE TEMP TABLE added AS SELECT fresh_id FROM pair WHERE job_id IS NULL",
    "CREATE TEMP TABLE returned AS SELECT job_id, fresh_id FROM pair WHERE was_left_out",
    """CREATE TEMP TABLE changed AS SELECT job_id, fresh_id, ended AS revived FROM pair
        WHERE job_id IS NOT NULL AND differs AND NOT sent AND NOT was_left_out""",
    "CREATE TEMP TABLE refused AS SELECT job_id, line FROM pair WHERE sent AND asks_otherwise",
    f"""CREATE TEMP TABLE gone AS
        SELECT job_id, attempt = 0 AND NOT {_SENT} AS unsent FROM main.job AS old
        WHERE job_id IN (SELECT job_id FROM main.job EXCEPT SELECT job_id FROM pair)
            AND NOT (state = 'skipped' AND '{NOT_LISTED}' IS (
                SELECT code FROM main.operation WHERE operation_id = old.operation_id))""",
)
_COUNTS = """
    SELECT (SELECT count(*) FROM added) + (SELECT count(*) FROM returned), (SELECT count(*) FROM changed),
        (SELECT count(*) FROM gone WHERE unsent), (SELECT count(*) FROM gone WHERE NOT unsent),
        (SELECT count(*) FROM refused)"""
_REFUSED = f"""
    SELECT refused.line, volume_id, state FROM refused JOIN main.job USING (job_id)
    ORDER BY refused.line LIMIT {MOST_REFUSED}"""

_NEW_TARGETS = """
    INSERT INTO main.target (cloud, region, project)
    SELECT cloud, region, project FROM fresh.target JOIN place ON fresh_id = fresh.target.target_id
    WHERE place.target_id IS NULL ORDER BY fresh_id"""
_NEW_TALLIES = """
    INSERT OR IGNORE INTO main.tally (target_id, state)
    SELECT main.target.target_id, fresh.tally.state FROM main.target, fresh.tally"""
_APPLY = (
    # Lines are where they are now; a name that the template makes is made anew while nothing was sent.
    """UPDATE main.job AS old SET line = pair.line FROM pair
        WHERE old.job_id = pair.job_id AND pair.moved""",
    f"""UPDATE main.job AS old SET image_name = {_NEW_NAME}
        FROM pair JOIN fresh.job AS new ON new.job_id = pair.fresh_id
        WHERE old.job_id = pair.job_id AND pair.renamed AND NOT pair.sent""",
    f"""UPDATE main.job AS old SET options = new.options, priority = new.priority,
            image_name = CASE WHEN {_OTHER_NAME} THEN new.image_name ELSE old.image_name END
        FROM (SELECT * FROM changed UNION ALL SELECT *, FALSE FROM returned) AS one
            JOIN fresh.job AS new ON new.job_id = one.fresh_id
        WHERE old.job_id = one.job_id""",
    # What is done with a row that was sent may still change, such as where its image goes.
    """UPDATE main.job AS old SET options = new.options FROM pair JOIN fresh.job AS new
            ON new.job_id = pair.fresh_id
        WHERE old.job_id = pair.job_id AND pair.sent AND pair.differs AND NOT pair.asks_otherwise""",
    f"""UPDATE main.job SET state = 'pending', next_at = {AT_ONCE_OR_HELD}, finished_at = NULL,
            operation_id = NULL, size_gib = NULL, attempts_before = attempt
        WHERE job_id IN (SELECT job_id FROM changed WHERE revived UNION ALL SELECT job_id FROM returned)""",
    f"""INSERT INTO main.operation (job_id, attempt, ended_at, outcome, code, reason)
        SELECT job_id, 0, :now, 'skipped', '{NOT_LISTED}', 'no longer in the list' FROM gone WHERE unsent""",
    """UPDATE main.job SET state = 'skipped', next_at = 0, finished_at = :now, operation_id =
            (SELECT max(operation_id) FROM main.operation WHERE main.operation.job_id = main.job.job_id)
        WHERE job_id IN (SELECT job_id FROM gone WHERE unsent)""",
    f"""INSERT INTO main.job (target_id, options, line, volume_id, image_name, priority)
        SELECT place.target_id, new.options, new.line, new.volume_id, {_NEW_NAME}, new.priority
        FROM added JOIN fresh.job AS new ON new.job_id = added.fresh_id
        JOIN place ON place.fresh_id = new.target_id ORDER BY new.job_id""",
    """UPDATE main.tally SET jobs = jobs + (
            SELECT count(*) FROM added JOIN fresh.job AS new ON new.job_id = added.fresh_id
            JOIN place ON place.fresh_id = new.target_id WHERE place.target_id = main.tally.target_id)
        WHERE state = 'pending'""",
    # What servers are stopped for was agreed to for the rows as they were.
    """UPDATE main.run SET job_count = (SELECT count(*) FROM main.job),
            list_name = (SELECT list_name FROM fresh.run),
            stop_rows = (SELECT count(*) FROM main.job
                WHERE options IS NOT NULL AND json_extract(options, '$.in_use') = 'stop'),
            may_stop = CASE WHEN EXISTS (SELECT 1 FROM added) OR EXISTS (SELECT 1 FROM changed)
                OR EXISTS (SELECT 1 FROM returned) THEN 0 ELSE may_stop END""",
)
# A row that is refused is told again the next time: the state file is not of this list yet.
_SETTLED = """UPDATE main.run SET list_sha256 = (SELECT list_sha256 FROM fresh.run)
    WHERE NOT EXISTS (SELECT 1 FROM refused)"""
_ANY_NAMED = """
    SELECT EXISTS (SELECT 1 FROM added) OR EXISTS (SELECT 1 FROM changed) OR EXISTS (SELECT 1 FROM returned)
        OR EXISTS (SELECT 1 FROM pair WHERE renamed AND NOT sent)"""
_NAMES_BEFORE = """
    CREATE TEMP TABLE was_named AS
    SELECT job_id, image_name AS name, first_intent_at IS NOT NULL AS tried FROM main.job
    WHERE job_id IN (SELECT job_id FROM pair WHERE (renamed OR differs) AND NOT sent)"""
_SHARED_NAME = """
    SELECT image_name FROM (
        SELECT target_id, image_name FROM main.job UNION ALL
        SELECT target_id, earlier.image_name FROM main.earlier_name AS earlier JOIN main.job AS own
            ON own.job_id = earlier.job_id AND own.image_name <> earlier.image_name) AS named
    GROUP BY target_id, image_name HAVING count(*) > 1 LIMIT 1"""


def compare(state_path: Path, fresh_path: Path) -> Differences:
    """How the list that was loaded into `fresh_path` differs. Changes neither file."""
    with closing(open_for_reading(state_path)) as db, reading(state_path):
        _attach(db, fresh_path, mode="ro")
        return look(db)


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
            found = look(db)
            apply(db)
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        return found


def _attach(db: sqlite3.Connection, fresh_path: Path, *, mode: str) -> None:
    db.execute("ATTACH ? AS fresh", (f"{fresh_path.absolute().as_uri()}?mode={mode}",))


def look(db: sqlite3.Connection) -> Differences:
    """How the rows of the attached `fresh` differ; tables of this connection tell of each row."""
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


def apply(db: sqlite3.Connection) -> None:
    """Take in what `look` has found, in a transaction of the caller's. Raises ListChangedError."""
    # Names may change places: only all of them together must differ.
    db.execute("DROP INDEX IF EXISTS job_image_name")
    db.execute(_NEW_TARGETS)
    db.execute(_NEW_TALLIES)
    db.execute("DROP TABLE place")
    db.execute(_PLACES)
    images.make_tables(db)
    db.execute(_NAMES_BEFORE)
    values: dict[str, Any] = {"now": time.time()}
    for statement in (*_APPLY, _SETTLED):
        db.execute(statement, values)
    images.names_changed(db)
    labels.take_in_names(db)
    if not db.execute(_ANY_NAMED).fetchone()[0]:
        return
    if (shared := db.execute(_SHARED_NAME).fetchone()) is not None:
        raise ListChangedError(
            f"the list gives two rows the image name {shared[0]!r}, one of which was sent already or is"
            " no longer in the list; nothing was started",
            hint="give the row another image_name",
        )
