"""When somebody worked on a target: a line for each time that it was taken, closed when it was left.

The table is made when it is first needed: files without one are of no older format, nobody had kept count.
"""

from __future__ import annotations

import sqlite3

import msgspec

from batchexport.store.history import Ask

_TABLE = """
    CREATE TABLE IF NOT EXISTS session (
        session_id INTEGER PRIMARY KEY,
        target_id INTEGER NOT NULL REFERENCES target,
        began_at REAL NOT NULL,
        ended_at REAL,
        was_lost INTEGER NOT NULL DEFAULT 0
    ) STRICT"""
_BEGIN = "INSERT INTO session (target_id, began_at) VALUES (?, ?)"
_END = "UPDATE session SET ended_at = ?, was_lost = ? WHERE target_id = ? AND ended_at IS NULL"
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'session'"
_ALL = "SELECT target_id, began_at, ended_at, was_lost FROM session ORDER BY began_at, session_id"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One process at work on one target."""

    target_id: int
    began_at: float
    ended_at: float | None  #: None = at work, or ended without a word and not replaced yet
    was_lost: bool  #: it never left the target, killed or with its machine; its end is that of its last sign


def begin(db: sqlite3.Connection, target_id: int, *, at: float) -> None:
    """Note that the target was taken."""
    db.execute(_TABLE)
    db.execute(_BEGIN, (target_id, at))


def lost(db: sqlite3.Connection, target_id: int, *, last_seen_at: float) -> None:
    """Note the last sign of an owner who never left the target."""
    db.execute(_TABLE)
    db.execute(_END, (last_seen_at, 1, target_id))


def end(db: sqlite3.Connection, target_id: int, *, at: float) -> None:
    """Note that the target was left."""
    db.execute(_TABLE)
    db.execute(_END, (at, 0, target_id))


def sessions(ask: Ask) -> list[Session]:
    """All that was noted, in the order in which they began, asked through `ask`."""
    if not ask(_IS_THERE):
        return []
    return [
        Session(target_id=row[0], began_at=row[1], ended_at=row[2], was_lost=bool(row[3]))
        for row in ask(_ALL)
    ]
