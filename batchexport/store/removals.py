"""The log of removed images: each removal is noted before it is sent, in the state file that knows the image.

The table is made when it is first needed: files without one are of no older format, they had nothing to note.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from batchexport.store.faults import writing
from batchexport.store.history import Ask
from batchexport.store.opening import close_for_good, open_for_work

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
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'removal'"
_GONE = "SELECT DISTINCT image_id FROM removal WHERE outcome IN ('removed', 'gone')"
_ALL = """
    SELECT volume_id, removal.image_id, run_id, asked_at, ended_at, outcome, words
    FROM removal JOIN job USING (job_id) ORDER BY removal_id"""


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """One request to delete an image of ours that newer ones had made old."""

    volume_id: str
    image_id: str
    run_id: str  #: of the night whose image was the newest
    asked_at: float
    ended_at: float | None  #: None = nobody knows what came of it
    outcome: str | None
    words: str | None


class RemovalLog:
    """Writes to the log of one state file. Each note is on disk when its call returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = open_for_work(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close_for_good(self._db)

    def asked(self, job_id: int, image_id: str, *, run_id: str, at_s: float) -> int:
        """Note that the image is about to be deleted; the number of the note."""
        with writing(self._path):
            self._db.execute(_TABLE)
            return int(self._db.execute(_ASK, (job_id, image_id, run_id, at_s)).lastrowid or 0)

    def answered(self, removal_id: int, outcome: str, words: str, *, at_s: float) -> None:
        """Note what came of it."""
        with writing(self._path):
            self._db.execute(_ANSWER, (at_s, outcome, words, removal_id))


def removed_image_ids(ask: Ask) -> frozenset[str]:
    """The images that were seen to be gone, asked through `ask`, which runs one statement."""
    return frozenset(image_id for (image_id,) in ask(_GONE)) if ask(_IS_THERE) else frozenset()


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
