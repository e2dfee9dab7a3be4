"""Tables of the state file, and their version.

Plain SQL where plain SQL does, so that the same tables can stand on another database. Each partial index
serves one query of `changes` or `queries`, which must repeat its predicate literally or scan the table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from batchexport.model import ExportOrder, JobState
from batchexport.store.sqlite.sqlite_errors import damaged

#: "BXst": tells a state file from any other SQLite file.
APPLICATION_ID = 0x42587374
VERSION = 3

# Words are compared with OR: SQLite builds a table for a longer IN list, 2 µs for every row it checks.

#: Rows that `retry` may bring back.
IS_RETRYABLE = "(state = 'failed' OR state = 'skipped' OR state = 'ambiguous')"
IS_READY = "state = 'pending' AND next_at = 0"
IS_WAITING = "state = 'pending' AND next_at > 0"
IS_UNDER_WAY = "(state = 'submitting' OR state = 'exporting')"
#: Until its servers are down a row waits for ever: nothing that claims can take it.
HELD = "9e999"
IS_HELD = f"state = 'pending' AND next_at > 0 AND next_at >= {HELD}"
#: Of a resource: it is ours to release.
IS_OUTSTANDING = "(state = 'acquiring' OR state = 'held' OR state = 'releasing')"
#: When a job goes that is pending again: one that is known to need resources only when they are held.
AT_ONCE_OR_HELD = f"CASE WHEN job_id IN (SELECT job_id FROM resource_job) THEN {HELD} ELSE 0 END"

#: Code of the ending of a row that is no longer in the list: `retry` leaves it alone.
NOT_LISTED = "not_listed"

#: In the order of the fields of `RunRecord`.
RUN_COLUMNS = (
    "run_id, created_at, list_name, list_sha256, job_count, settings, version, stop_rows, in_use, may_stop"
)

_IS_STATE = " OR ".join(f"state = '{state}'" for state in JobState)
_IS_RESOURCE_STATE = " OR ".join(
    f"state = '{state}'" for state in ("idle", "acquiring", "held", "releasing", "released", "lost")
)

#: Every request that changes a cloud, written before it is sent; and rows that ended without one. A log, not
#: keyed by (job_id, attempt): an attempt that does not count gives its number to the next. While an export is
#: under way, the cloud's answer to its request stands in the job.
OPERATION_TABLE = """CREATE TABLE operation (
        operation_id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES job,
        kind TEXT NOT NULL DEFAULT 'export',
        subject TEXT,
        run_id TEXT,
        attempt INTEGER,
        intent_at REAL,
        accepted_at REAL,
        ended_at REAL,
        outcome TEXT,
        image_id TEXT,
        http_status INTEGER,
        code TEXT,
        reason TEXT,
        request_id TEXT,
        image_hash TEXT
    ) STRICT"""
#: What is there, or off, because of us, and is to be released. `subject_id` is the cloud's id, or of what we
#: create the name that we chose; then `cloud_id` is the cloud's, NULL until it is known.
RESOURCE_TABLE = f"""CREATE TABLE resource (
        target_id INTEGER NOT NULL REFERENCES target,
        kind TEXT NOT NULL DEFAULT 'server',
        subject_id TEXT NOT NULL,
        name TEXT,
        state TEXT NOT NULL DEFAULT 'idle' CHECK ({_IS_RESOURCE_STATE}),
        depends_on TEXT,
        status_before TEXT,
        acquiring_at REAL,
        held_at REAL,
        released_at REAL,
        note TEXT,
        cloud_id TEXT,
        volume_id TEXT,
        size_gib INTEGER,
        PRIMARY KEY (target_id, kind, subject_id)
    ) STRICT, WITHOUT ROWID"""
#: Only of jobs that need resources, or needed some: most lists leave it empty.
RESOURCE_JOB_TABLE = """CREATE TABLE resource_job (
        job_id INTEGER NOT NULL REFERENCES job,
        kind TEXT NOT NULL DEFAULT 'server',
        subject_id TEXT NOT NULL,
        PRIMARY KEY (job_id, kind, subject_id)
    ) STRICT, WITHOUT ROWID"""
#: Programs that know format 1 alone look for these tables before they look at the version, and would call the
#: file damaged.
FORMAT_1_TABLES = tuple(
    f"CREATE TABLE {name} (moved_to TEXT) STRICT" for name in ("attempt", "server", "job_server")
)

TABLES = (
    """CREATE TABLE run (
        run_id TEXT PRIMARY KEY,
        created_at REAL NOT NULL,
        list_name TEXT NOT NULL,
        list_sha256 TEXT NOT NULL,
        job_count INTEGER NOT NULL,
        settings TEXT NOT NULL,
        version TEXT NOT NULL,
        stop_rows INTEGER NOT NULL,
        in_use TEXT,
        may_stop INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE target (
        target_id INTEGER PRIMARY KEY,
        cloud TEXT,
        region TEXT,
        project TEXT,
        requests_per_second REAL,
        epoch INTEGER NOT NULL DEFAULT 0,
        owner TEXT,
        lease_until REAL NOT NULL DEFAULT 0
    ) STRICT""",
    # operation_id names the operation under way, else the last that ended, so that its words are kept once
    # and the row stays narrow. It is no foreign key: the tables would refer to each other.
    f"""CREATE TABLE job (
        job_id INTEGER PRIMARY KEY,
        target_id INTEGER NOT NULL REFERENCES target,
        line INTEGER NOT NULL,
        volume_id TEXT NOT NULL,
        image_name TEXT NOT NULL,
        options TEXT,
        state TEXT NOT NULL DEFAULT 'pending' CHECK ({_IS_STATE}),
        attempt INTEGER NOT NULL DEFAULT 0,
        attempts_before INTEGER NOT NULL DEFAULT 0,
        next_at REAL NOT NULL DEFAULT 0,
        size_gib INTEGER,
        intent_at REAL,
        first_intent_at REAL,
        image_id TEXT,
        request_id TEXT,
        accepted_at REAL,
        deadline_at REAL,
        finished_at REAL,
        operation_id INTEGER,
        priority INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    OPERATION_TABLE,
    """CREATE TABLE tally (
        target_id INTEGER NOT NULL REFERENCES target,
        state TEXT NOT NULL,
        jobs INTEGER NOT NULL DEFAULT 0,
        gib INTEGER NOT NULL DEFAULT 0,
        sized_jobs INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (target_id, state)
    ) STRICT""",
    RESOURCE_TABLE,
    RESOURCE_JOB_TABLE,
    *FORMAT_1_TABLES,
)

#: By the end, for what ended last: with the times that a log has, this one only grows at its end.
OPERATION_INDEXES = (
    "CREATE INDEX operation_job ON operation (job_id)",
    "CREATE INDEX operation_ended ON operation (ended_at) WHERE ended_at IS NOT NULL",
)
RESOURCE_INDEXES = (
    f"CREATE INDEX resource_outstanding ON resource (target_id, kind, subject_id) WHERE {IS_OUTSTANDING}",
    "CREATE INDEX resource_job_subject ON resource_job (subject_id, job_id)",
)

#: What must be unique in a target, by column: broken by the list, not by us. Each is made when it is first
#: needed, to find rows by it, or the rows that share a value: both take two thirds as long as loading the
#: rows. The text comes first because SQLite sorts by a first column of text a third faster.
UNIQUE_INDEXES = {
    "volume_id": "CREATE UNIQUE INDEX IF NOT EXISTS job_volume ON job (volume_id, target_id)",
    "image_name": "CREATE UNIQUE INDEX IF NOT EXISTS job_image_name ON job (image_name, target_id)",
}

#: Copied from the options of a job, for an index on it: SQLite lets no JSON function into one of a file that
#: it is told not to trust.
PRIORITY_OF_OPTIONS = "coalesce(json_extract(options, '$.priority'), 0)"
#: For handing out jobs in an order other than that of the list. Each is made when it is first needed, when
#: sizes are known: to sort rows at once costs less than to place them one by one.
ORDER_INDEXES = {
    ExportOrder.SIZE: "CREATE INDEX IF NOT EXISTS job_by_size"
    f" ON job (target_id, size_gib DESC) WHERE {IS_READY}",
    ExportOrder.PRIORITY: "CREATE INDEX IF NOT EXISTS job_by_priority"
    f" ON job (target_id, priority DESC, size_gib DESC) WHERE {IS_READY}",
}

#: Made before the rows are loaded: these come in the order of the indexes, and each is passed over once.
#: None names job_id: it is SQLite's own number of the row, which ends every entry, in order.
INDEXES = (
    f"CREATE INDEX job_ready ON job (target_id) WHERE {IS_READY}",
    f"CREATE INDEX job_waiting ON job (target_id, next_at) WHERE {IS_WAITING}",
    f"CREATE INDEX job_under_way ON job (target_id, state) WHERE {IS_UNDER_WAY}",
    f"CREATE INDEX job_retryable ON job (state) WHERE {IS_RETRYABLE}",
    *OPERATION_INDEXES,
    *RESOURCE_INDEXES,
    """CREATE TRIGGER job_counted AFTER UPDATE OF state, size_gib ON job
        WHEN OLD.state <> NEW.state OR coalesce(OLD.size_gib, -1) <> coalesce(NEW.size_gib, -1)
    BEGIN
        UPDATE tally SET
            jobs = jobs - 1,
            gib = gib - coalesce(OLD.size_gib, 0),
            sized_jobs = sized_jobs - (OLD.size_gib IS NOT NULL)
        WHERE target_id = OLD.target_id AND state = OLD.state;
        UPDATE tally SET
            jobs = jobs + 1,
            gib = gib + coalesce(NEW.size_gib, 0),
            sized_jobs = sized_jobs + (NEW.size_gib IS NOT NULL)
        WHERE target_id = NEW.target_id AND state = NEW.state;
    END""",
)


#: The longest text that is read or written at once. What we write is far shorter: 500 changes, or the volume
#: ids of all rows that wait for one server.
MOST_BYTES = 16_777_216

_SCHEMA = "SELECT type, name, coalesce(sql, '') FROM sqlite_master"
_TABLES = frozenset({"run", "target", "job", "operation", "tally", "resource", "resource_job"})


def distrust(db: sqlite3.Connection) -> None:
    """Let nothing in the file call a function with effects, nor hand over texts without end."""
    db.execute("PRAGMA trusted_schema=OFF")
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)


def check_own(db: sqlite3.Connection, path: Path) -> None:
    """Raise StateCorruptError where a table of ours is missing, or where there is what we never made.

    Tables and indexes that are not known may be those of a newer version: they do nothing unasked.
    """
    found = db.execute(_SCHEMA).fetchall()
    if strangers := list(_strangers(found)):
        raise damaged(path, f"it holds {', '.join(strangers[:3])}, which no batchexport made")
    missing = _TABLES - {name for kind, name, _ in found if kind == "table"}
    if missing:
        raise damaged(path, f"no such table: {', '.join(sorted(missing))}")


def _strangers(found: list[tuple[str, str, str]]) -> Iterator[str]:
    ours = {_folded(statement) for statement in INDEXES if "CREATE TRIGGER" in statement}
    for kind, name, sql in found:
        virtual = kind == "table" and _folded(sql).startswith("create virtual")
        if kind not in ("table", "index", "trigger") or virtual:
            yield f"the {'virtual table' if virtual else kind} {name!r}"
        elif kind == "trigger" and _folded(sql) not in ours:
            yield f"the trigger {name!r}"


def _folded(sql: str) -> str:
    return " ".join(sql.split()).lower()
