"""Rows that no attempt was made of and whose volumes nobody has looked at: what a preflight asks for.

A row counts as looked at once the size of its volume is known: an interrupted look goes on where it was.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from batchexport.store.queries import JOB_COLUMNS, job_of
from batchexport.store.records import Unsent
from batchexport.store.schema import IS_READY, UNIQUE_INDEXES

COUNT = "SELECT jobs - sized_jobs FROM tally WHERE target_id = ? AND state = 'pending'"
PENDING = "SELECT jobs FROM tally WHERE target_id = ? AND state = 'pending'"

_UNSENT = f"SELECT line, {JOB_COLUMNS} FROM job WHERE target_id = ?"
_AMONG = "IN (SELECT value FROM json_each(?)) AND state = 'pending' AND attempt = 0"
OF_VOLUMES = f"{_UNSENT} AND volume_id {_AMONG} AND size_gib IS NULL ORDER BY job_id"
OF_NAMES = f"{_UNSENT} AND image_name {_AMONG} ORDER BY job_id"
NEXT = f"{_UNSENT} AND {IS_READY} AND attempt = 0 AND size_gib IS NULL AND job_id > ? ORDER BY job_id LIMIT ?"


def count(db: sqlite3.Connection, target_id: int) -> int:
    """How many pending rows have a volume of unknown size. Fast at any size."""
    return int(db.execute(COUNT, (target_id,)).fetchone()[0])


def pending(db: sqlite3.Connection, target_id: int) -> int:
    """How many rows are pending. Fast at any size."""
    return int(db.execute(PENDING, (target_id,)).fetchone()[0])


def of_volumes(db: sqlite3.Connection, target_id: int, volume_ids: Sequence[str]) -> list[Unsent]:
    """The rows for these volumes, those looked at left out."""
    db.execute(UNIQUE_INDEXES["volume_id"])
    return _records(db, OF_VOLUMES, target_id, json.dumps(volume_ids))


def of_names(db: sqlite3.Connection, target_id: int, image_names: Sequence[str]) -> list[Unsent]:
    """The rows that want one of these image names."""
    db.execute(UNIQUE_INDEXES["image_name"])
    return _records(db, OF_NAMES, target_id, json.dumps(image_names))


def after(db: sqlite3.Connection, target_id: int, job_id: int, limit: int) -> list[Unsent]:
    """The first rows behind this one that were not looked at."""
    return _records(db, NEXT, target_id, job_id, limit)


def _records(db: sqlite3.Connection, statement: str, *values: object) -> list[Unsent]:
    return [Unsent(line=row[0], job=job_of(row[1:])) for row in db.execute(statement, values)]
