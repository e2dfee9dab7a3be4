"""What images were when somebody last looked at them by their ids, for people: most exports end unlooked at.

The table is made at the first look: files without one are of no older format.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from batchexport.store.history import Ask

_TABLE = """
    CREATE TABLE IF NOT EXISTS image_status (
        target_id INTEGER NOT NULL REFERENCES target,
        image_id TEXT NOT NULL,
        status TEXT NOT NULL,
        PRIMARY KEY (target_id, image_id)
    ) STRICT, WITHOUT ROWID"""
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'image_status'"
_NOTE = "INSERT OR REPLACE INTO image_status (target_id, image_id, status) VALUES (?, ?, ?)"
_STATUS_OF_JOB = """(SELECT status FROM image_status
    WHERE image_status.target_id = job.target_id AND image_status.image_id = job.image_id)"""


def note(db: sqlite3.Connection, target_id: int, statuses: Mapping[str, str]) -> None:
    """Note what images are now, by image id."""
    db.execute(_TABLE)
    db.executemany(_NOTE, [(target_id, image_id, status) for image_id, status in statuses.items()])


def column(ask: Ask) -> str:
    """An expression for the status of a job's image; NULL in files in which nobody looked at any."""
    return _STATUS_OF_JOB if ask(_IS_THERE) else "NULL"
