"""The log of removed images: each removal is noted before it is sent, in the state file that knows the image.

The table is made when it is first needed: files without one are of no older format, they had nothing to note.
"""

from __future__ import annotations

import sqlite3
from functools import partial

import msgspec

from batchexport.store.history import Ask
from batchexport.store.writer import TargetWriter

_TABLE = """
    CREATE TABLE IF NOT EXISTS removal (
        removal_id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES job,
        image_id TEXT NOT NULL,
        run_id TEXT NOT NULL,
        asked_at REAL NOT NULL,
        ended_at REAL,
        outcome TEXT,
        words TEXT
    ) STRICT"""
_ASK = "INSERT INTO removal (job_id, image_id, run_id, asked_at) VALUES (?, ?, ?, ?)"
_ANSWER = "UPDATE removal SET ended_at = ?, outcome = ?, words = ? WHERE removal_id = ?"
_SETTLE = "UPDATE removal SET ended_at = ?, outcome = ?, words = ? WHERE image_id = ? AND ended_at IS NULL"
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'removal'"
_GONE = "SELECT DISTINCT image_id FROM removal WHERE outcome IN ('removed', 'gone')"
_OPEN = "SELECT DISTINCT image_id FROM removal WHERE ended_at IS NULL"
_REQUESTED = "SELECT image_id FROM attempt WHERE image_id IS NOT NULL AND request_id IS NOT NULL"
_ALL = """
    SELECT volume_id, removal.image_id, run_id, asked_at, ended_at, outcome, words
    FROM removal JOIN job USING (job_id) ORDER BY removal_id"""


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """One request to delete an image of ours: newer ones had made it old, or its attempt came to nothing."""

    volume_id: str
    image_id: str
    run_id: str  #: of the night that asked
    asked_at: float
    ended_at: float | None  #: None = nobody knows what came of it
    outcome: str | None
    words: str | None


class RemovalBook:
    """The removals of one open state file: durable once awaited, and refused to whoever lost the lease."""

    def __init__(self, writer: TargetWriter) -> None:
        self._writer = writer

    async def asked(self, job_id: int, image_id: str, *, run_id: str, at_s: float) -> int:
        """Note that the image is about to be deleted; the number of the note."""
        return await self._writer.run(
            partial(_note, job_id=job_id, image_id=image_id, run_id=run_id, at_s=at_s)
        )

    async def answered(self, removal_id: int, outcome: str, words: str, *, at_s: float) -> None:
        """Note what came of it."""
        await self._writer.run(partial(_run, statement=_ANSWER, values=(at_s, outcome, words, removal_id)))

    async def settle(self, image_id: str, outcome: str, words: str, *, at_s: float) -> None:
        """Note what came of every earlier request to delete the image that was never answered."""
        await self._writer.run(partial(_run, statement=_SETTLE, values=(at_s, outcome, words, image_id)))


def _note(db: sqlite3.Connection, *, job_id: int, image_id: str, run_id: str, at_s: float) -> int:
    db.execute(_TABLE)
    return int(db.execute(_ASK, (job_id, image_id, run_id, at_s)).lastrowid or 0)


def _run(db: sqlite3.Connection, *, statement: str, values: tuple[object, ...]) -> None:
    db.execute(_TABLE)
    db.execute(statement, values)


def removed_image_ids(ask: Ask) -> frozenset[str]:
    """The images that were seen to be gone, asked through `ask`, which runs one statement."""
    return frozenset(image_id for (image_id,) in ask(_GONE)) if ask(_IS_THERE) else frozenset()


def unanswered_image_ids(ask: Ask) -> frozenset[str]:
    """The images that were asked to be deleted, and nobody knows whether they were."""
    return frozenset(image_id for (image_id,) in ask(_OPEN)) if ask(_IS_THERE) else frozenset()


def requested_image_ids(ask: Ask) -> frozenset[str]:
    """The images of attempts whose request the cloud itself answered with their id."""
    return frozenset(image_id for (image_id,) in ask(_REQUESTED))


def removals(ask: Ask) -> list[Removal]:
    """All that was noted, oldest first, asked through `ask`."""
    if not ask(_IS_THERE):
        return []
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
        for row in ask(_ALL)
    ]
