"""What other state files in the same folder have exported already of the volumes that are to go now."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from batchexport.errors import StateError
from batchexport.identity import difference
from batchexport.store import queries
from batchexport.store.faults import reading
from batchexport.store.opening import open_for_reading
from batchexport.store.records import TargetRecord
from batchexport.store.removals import removed_image_ids

#: Rows that are skipped in one transaction.
_PAGE = 2000

_THERE = "('submitting', 'exporting', 'succeeded', 'ambiguous')"
_ANY_THERE = f"SELECT 1 FROM tally WHERE target_id = ? AND jobs > 0 AND state IN {_THERE}"
_SAME_VOLUMES = f"""
    SELECT mine.job_id, theirs.image_id
    FROM main.job AS theirs CROSS JOIN own.job AS mine ON mine.volume_id = theirs.volume_id
    WHERE theirs.target_id = ? AND theirs.state IN {_THERE}
        AND mine.target_id = ? AND mine.state = 'pending'"""
_LOG = """
    INSERT INTO attempt (job_id, attempt, ended_at, outcome, code, reason)
    SELECT job_id, attempt, ?, 'skipped', 'exported_elsewhere', ? FROM job
    WHERE job_id = ? AND target_id = ? AND state = 'pending'"""
_SKIP = "UPDATE job SET state = 'skipped', next_at = 0, finished_at = ?, ending_id = ? WHERE job_id = ?"


class ExportedElsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """A pending job whose volume another state file has exported, or is exporting."""

    job_id: int
    run_id: str
    path: Path  #: the other state file
    image_id: str | None

    @property
    def reason(self) -> str:
        """Why it is not sent."""
        image = f": image {self.image_id}" if self.image_id else ""
        return f"exported already by run {self.run_id}, state file {self.path.name}{image}"


def exported_elsewhere(
    own: Path, target_id: int, mine: TargetRecord, others: Sequence[Path]
) -> Iterator[list[ExportedElsewhere]]:
    """The pending jobs of a target whose volumes these other state files show as exported, page by page.

    A file that cannot be read is passed over: what it knows was sent by others in any case. Images that were
    removed again do not count.
    """
    for other in others:
        try:
            yield from _of_one(own, target_id, mine, other)
        except StateError:
            continue


def skip(db: sqlite3.Connection, target_id: int, rows: Sequence[ExportedElsewhere], *, at: float) -> int:
    """How many of these jobs were pending still, and are skipped now."""
    skipped = 0
    for row in rows:
        cursor = db.execute(_LOG, (at, row.reason, row.job_id, target_id))
        if cursor.rowcount == 1:
            db.execute(_SKIP, (at, cursor.lastrowid, row.job_id))
            skipped += 1
    return skipped


def _of_one(own: Path, target_id: int, mine: TargetRecord, other: Path) -> Iterator[list[ExportedElsewhere]]:
    with closing(open_for_reading(other)) as db, reading(other):
        same = [
            theirs.target_id
            for theirs in queries.targets(db)
            if is_same(mine, theirs) and db.execute(_ANY_THERE, (theirs.target_id,)).fetchone()
        ]
        if not same:
            return
        run_id = queries.run_record(db).run_id
        gone = removed_image_ids(lambda statement: db.execute(statement).fetchall())
        db.execute("ATTACH ? AS own", (f"{own.resolve().as_uri()}?mode=ro",))
        for theirs_id in same:
            cursor = db.execute(_SAME_VOLUMES, (theirs_id, target_id))
            while page := cursor.fetchmany(_PAGE):
                yield [
                    ExportedElsewhere(job_id=job_id, run_id=run_id, path=other, image_id=image_id)
                    for job_id, image_id in page
                    if image_id not in gone
                ]


def is_same(mine: TargetRecord, theirs: TargetRecord) -> bool:
    """Whether two targets are one project, by what sign-in found, else by what the lists call it."""
    if mine.identity is not None and theirs.identity is not None:
        return not mine.identity.is_sandbox and difference(mine.identity, theirs.identity) is None
    return mine.key == theirs.key
