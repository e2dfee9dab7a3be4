"""How each process ended its work on a state file: exit code, host, job. For people only, so without a lease.

The table is made when the first one ends: files without one are of no older format.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from batchexport.store.faults import writing
from batchexport.store.history import Ask
from batchexport.store.moments import moment
from batchexport.store.opening import close_for_good, open_for_work

_TABLE = """
    CREATE TABLE IF NOT EXISTS process_end (
        end_id INTEGER PRIMARY KEY,
        began_at REAL NOT NULL,
        ended_at REAL NOT NULL,
        exit_code INTEGER NOT NULL,
        error TEXT,
        host TEXT,
        job TEXT
    ) STRICT"""
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'process_end'"
_ADD = "INSERT INTO process_end (began_at, ended_at, exit_code, error, host, job) VALUES (?, ?, ?, ?, ?, ?)"
_LAST = "SELECT began_at, ended_at, exit_code, error, host, job FROM process_end ORDER BY end_id DESC LIMIT 1"


class ProcessEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How one process ended its work."""

    began_at: float
    ended_at: float
    exit_code: int
    error: str | None  #: what ended it, where something did
    host: str | None
    job: str | None  #: the job file or list that it was started with, as it is called


def note_end(path: Path, end: ProcessEnd) -> None:
    """Note how a process ended. Raises StateError where the file cannot be written."""
    db = open_for_work(path)
    try:
        with writing(path):
            db.execute(_TABLE)
            db.execute(_ADD, msgspec.structs.astuple(end))
    finally:
        close_for_good(db)


def last_end(ask: Ask) -> ProcessEnd | None:
    """How the last process ended that said so; None where none did."""
    if not ask(_IS_THERE) or not (rows := ask(_LAST)):
        return None
    began_at, ended_at, exit_code, error, host, job = rows[0]
    return ProcessEnd(
        began_at=moment(began_at) or 0.0,
        ended_at=moment(ended_at) or 0.0,
        exit_code=exit_code,
        error=error,
        host=host,
        job=job,
    )
