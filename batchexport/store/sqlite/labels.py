"""What is kept for people only: what volumes are called, and the status of images when they were last seen.

Names are as the list says, or as the cloud did when it was looked at. The tables are made when they are first
needed: files without them are of no older format.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

from batchexport.store.sqlite.history import Ask
from batchexport.store.sqlite.schema import UNIQUE_INDEXES

#: A name is for people: what is longer than any cloud allows is cut.
_MAX_LENGTH = 255

NAME_TABLE = """
    CREATE TABLE IF NOT EXISTS volume_name (
        target_id INTEGER NOT NULL REFERENCES target,
        volume_id TEXT NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (target_id, volume_id)
    ) STRICT, WITHOUT ROWID"""
_HAS_NAMES = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'volume_name'"
_ADD_NAME = "INSERT OR REPLACE INTO volume_name (target_id, volume_id, name) VALUES (?, ?, ?)"
# Pages of a project hold many volumes that no row names.
_ADD_LISTED_NAME = """
    INSERT OR REPLACE INTO volume_name (target_id, volume_id, name)
    SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM job WHERE volume_id = ?2 AND target_id = ?1)"""
_TAKE_IN_NAMES = """
    INSERT OR REPLACE INTO main.volume_name (target_id, volume_id, name)
    SELECT place.target_id, volume_id, name
    FROM fresh.volume_name JOIN place ON fresh_id = fresh.volume_name.target_id"""

_NAMES_OF = "SELECT volume_id, name FROM volume_name WHERE volume_id IN (SELECT value FROM json_each(?))"

#: To be joined with `job`.
NAME_OF_JOB = """(SELECT name FROM volume_name
    WHERE volume_name.target_id = job.target_id AND volume_name.volume_id = job.volume_id)"""
NO_NAME = "NULL"


def name_column(ask: Ask) -> str:
    """An expression for the name of a job's volume; NULL in files in which no name is known."""
    return NAME_OF_JOB if ask(_HAS_NAMES) else NO_NAME


def add_names(db: sqlite3.Connection, names: Iterable[tuple[int, str, str]]) -> None:
    """Note names: target id, volume id, name."""
    db.execute(NAME_TABLE)
    db.executemany(
        _ADD_NAME, [(target_id, volume_id, name[:_MAX_LENGTH]) for target_id, volume_id, name in names]
    )


def add_listed_names(db: sqlite3.Connection, target_id: int, names: Mapping[str, str]) -> None:
    """Note names by volume id; those of volumes that the list does not name are passed over."""
    db.execute(NAME_TABLE)
    db.execute(UNIQUE_INDEXES["volume_id"])
    db.executemany(
        _ADD_LISTED_NAME, [(target_id, volume_id, name[:_MAX_LENGTH]) for volume_id, name in names.items()]
    )


def take_in_names(db: sqlite3.Connection) -> None:
    """Take the names of a list that was loaded anew, in the database `fresh`; `place` tells its targets."""
    if db.execute(_HAS_NAMES.replace("sqlite_master", "fresh.sqlite_master")).fetchone():
        db.execute(NAME_TABLE.replace("EXISTS volume_name", "EXISTS main.volume_name"))
        db.execute(_TAKE_IN_NAMES)


def given_names(volume_ids: Sequence[str], names: Sequence[str | None] | None) -> list[tuple[str, str]]:
    """The volume ids that have a name, with it."""
    return [(volume_id, name) for volume_id, name in zip(volume_ids, names or (), strict=False) if name]


def names_of(ask: Ask, volume_ids: Collection[str]) -> dict[str, str]:
    """The names of these volumes, by id; those that nobody told are left out."""
    if not volume_ids or not ask(_HAS_NAMES):
        return {}
    return dict(ask(_NAMES_OF, json.dumps(list(volume_ids))))


STATUS_TABLE = """
    CREATE TABLE IF NOT EXISTS image_status (
        target_id INTEGER NOT NULL REFERENCES target,
        image_id TEXT NOT NULL,
        status TEXT NOT NULL,
        PRIMARY KEY (target_id, image_id)
    ) STRICT, WITHOUT ROWID"""
_HAS_STATUSES = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'image_status'"
_NOTE_STATUS = "INSERT OR REPLACE INTO image_status (target_id, image_id, status) VALUES (?, ?, ?)"
_STATUS_OF_JOB = """(SELECT status FROM image_status
    WHERE image_status.target_id = job.target_id AND image_status.image_id = job.image_id)"""


def note_statuses(db: sqlite3.Connection, target_id: int, statuses: Mapping[str, str]) -> None:
    """Note what images are now, by image id."""
    db.execute(STATUS_TABLE)
    db.executemany(_NOTE_STATUS, [(target_id, image_id, status) for image_id, status in statuses.items()])


def status_column(ask: Ask) -> str:
    """An expression for the status of a job's image; NULL in files in which nobody looked at any."""
    return _STATUS_OF_JOB if ask(_HAS_STATUSES) else "NULL"
