"""The other runs of a database: what they exported, and the servers that they hold."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from batchexport.store.owner import is_alive, this_process
from batchexport.store.port import LEASE_S
from batchexport.store.postgres.connection import CATALOGUE, catalogue
from batchexport.store.postgres.reference import DatabasePath
from batchexport.store.records import Elsewhere
from batchexport.store.sqlite.lease import owner_from
from batchexport.store.sqlite.schema import IS_OUTSTANDING
from batchexport.store.sqlite.targets import ExportedElsewhere, is_same, target_records

#: So many of the runs that were made last are looked at.
MAX_RUNS = 100
#: Rows that are skipped in one transaction.
_PAGE = 2000

_RUNS = f"SELECT run_name, schema_name FROM {CATALOGUE}.run ORDER BY run_no DESC LIMIT {MAX_RUNS}"
_GONE = "SELECT subject FROM operation WHERE kind = 'delete_image' AND outcome IN ('removed', 'gone')"
_THERE = "('submitting', 'exporting', 'succeeded', 'ambiguous')"


def run_names(path: DatabasePath) -> list[str]:
    """The runs of the database, the newest first. Raises StateError."""
    with catalogue(path, doing="list its runs") as db:
        return [name for name, _ in db.execute(_RUNS).fetchall()]


def others_of(path: DatabasePath) -> list[Path]:
    """The other runs of its database, the newest first."""
    return [path.parent / name for name in run_names(path) if name != path.run_name]


def exported_elsewhere(
    db: sqlite3.Connection, target_id: int, *, path: Path, others: Sequence[Path]
) -> list[list[ExportedElsewhere]]:
    """The pending jobs of a target whose volumes these other runs show as exported, in pages of one run."""
    mine = next(each for each in target_records(db) if each.target_id == target_id)
    places = dict(db.execute(_RUNS).fetchall())
    here = db.execute("SELECT current_schema()").fetchone()[0]
    found: list[list[ExportedElsewhere]] = []
    for other in others:
        place = places.get(other.name) if other.parent == path.parent else None
        if place is None:
            continue
        db.execute(f"SET LOCAL search_path = {place}")
        run_id = db.execute("SELECT run_id FROM run").fetchone()[0]
        same = [theirs.target_id for theirs in target_records(db) if is_same(mine, theirs)]
        for theirs_id in same:
            rows = db.execute(
                f"SELECT mine.job_id, theirs.image_id FROM job AS theirs JOIN {here}.job AS mine"
                f" ON mine.volume_id = theirs.volume_id WHERE theirs.target_id = ? AND mine.target_id = ?"
                f" AND theirs.state IN {_THERE} AND mine.state = 'pending'"
                f" AND coalesce(theirs.image_id NOT IN ({_GONE}), true)",
                (theirs_id, target_id),
            ).fetchall()
            exported = [
                ExportedElsewhere(job_id=job_id, run_id=run_id, path=other, image_id=image_id)
                for job_id, image_id in rows
            ]
            found += [exported[start : start + _PAGE] for start in range(0, len(exported), _PAGE)]
        db.execute(f"SET LOCAL search_path = {here}")
    return found


def down_elsewhere(db: sqlite3.Connection, *, path: DatabasePath) -> dict[str, Elsewhere]:
    """The servers that other runs of the database have stopped and not yet started, by id."""
    now = time.time()
    here = this_process(now=now)
    found: dict[str, Elsewhere] = {}
    for name, place in db.execute(_RUNS).fetchall():
        if name == path.run_name:
            continue
        rows = db.execute(
            f"SELECT subject_id, owner, lease_until, (SELECT run_id FROM {place}.run)"
            f" FROM {place}.resource JOIN {place}.target USING (target_id) WHERE {IS_OUTSTANDING}"
        ).fetchall()
        for server_id, text, lease_until, run_id in rows:
            owner = owner_from(text)
            alive = False if owner is None else is_alive(owner, here=here)
            is_working = lease_until + LEASE_S > now if alive is None else alive
            if server_id not in found or is_working:
                found[server_id] = Elsewhere(path=path.parent / name, run_id=run_id, is_working=is_working)
    return found
