"""The images that a run made, kept on disk until the cloud has spoken of them: memory does not grow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from batchexport.store.back_end import ExportedImages
from batchexport.store.reports import Exported
from batchexport.store.sqlite import values
from batchexport.store.sqlite.connection import open_for_reading
from batchexport.store.sqlite.images import removed_image_ids
from batchexport.store.sqlite.sqlite_errors import reading

# In a temporary database of this connection's own: the state file is only read.
# Not keyed by the image alone: should two rows name one image, that is to be told, not to fail.
_TABLE = """
    CREATE TEMP TABLE awaited (
        image_id TEXT NOT NULL, job_id INTEGER NOT NULL, PRIMARY KEY (image_id, job_id)) WITHOUT ROWID"""
_FILL = """
    INSERT INTO awaited SELECT image_id, job_id FROM main.job
    WHERE state = 'succeeded' AND target_id = ? AND image_id IS NOT NULL"""
_OLDEST = "SELECT min(first_intent_at) FROM main.job WHERE state = 'succeeded' AND target_id = ?"
_ROWS = """
    SELECT line, volume_id, awaited.image_id, image_name, options, size_gib, image_hash,
        EXISTS (SELECT 1 FROM awaited AS other
            WHERE other.image_id = awaited.image_id AND other.job_id <> awaited.job_id)
    FROM awaited JOIN main.job USING (job_id) LEFT JOIN main.operation USING (operation_id)"""
_AMONG = "image_id IN (SELECT value FROM json_each(?))"
TAKE = f"{_ROWS} WHERE awaited.{_AMONG} ORDER BY line"
_TAKEN = f"DELETE FROM awaited WHERE {_AMONG}"
_FIRST = f"{_ROWS} ORDER BY line LIMIT ?"


class SqliteExportedImages(ExportedImages):
    """The images of one target's succeeded rows, until they are taken, but for those removed since."""

    def __init__(self, path: Path, target_id: int) -> None:
        self._path = path
        self._db = open_for_reading(path)
        with reading(self._path):
            self._db.execute(_TABLE)
            self._db.execute(_FILL, (target_id,))
            gone = removed_image_ids(lambda statement: self._db.execute(statement).fetchall())
            self._db.execute(_TAKEN, (json.dumps(sorted(gone)),))
            (self.oldest_s,) = self._db.execute(_OLDEST, (target_id,)).fetchone()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def __len__(self) -> int:
        with reading(self._path):
            return int(self._db.execute("SELECT count(*) FROM awaited").fetchone()[0])

    def take(self, image_ids: Sequence[str]) -> list[Exported]:
        """The rows of these images, in the order of the list; they are waited for no longer."""
        among = json.dumps(image_ids)
        with reading(self._path):
            rows = [_exported(row) for row in self._db.execute(TAKE, (among,))]
            self._db.execute(_TAKEN, (among,))
        return rows

    def first(self, limit: int) -> list[Exported]:
        """The first rows that are still waited for."""
        with reading(self._path):
            return [_exported(row) for row in self._db.execute(_FIRST, (limit,))]


def _exported(row: tuple[int, str, str, str, str | None, int | None, str | None, int]) -> Exported:
    return Exported(
        line=row[0],
        volume_id=row[1],
        image_id=row[2],
        image_name=row[3],
        options=values.options_from_text(row[4]),
        size_gib=row[5],
        image_hash=row[6],
        is_shared=bool(row[7]),
    )
