"""Targets: which cloud each turned out to be, and rows that are not to go as their volumes went elsewhere.

A target is bound to its cloud at its first sign-in: it is the cloud that the state file belongs to. The table
is made then: files without one are of no older format.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from batchexport.errors import StateError, WrongCloudError
from batchexport.identity import CloudIdentity, difference
from batchexport.model import TargetKey
from batchexport.store.records import TargetRecord
from batchexport.store.sqlite import queries
from batchexport.store.sqlite.connection import open_for_reading
from batchexport.store.sqlite.history import Ask
from batchexport.store.sqlite.images import removed_image_ids
from batchexport.store.sqlite.schema import UNIQUE_INDEXES
from batchexport.store.sqlite.sqlite_errors import reading
from batchexport.store.sqlite.values import moment

IDENTITY_TABLE = """
    CREATE TABLE IF NOT EXISTS target_identity (
        target_id INTEGER PRIMARY KEY REFERENCES target,
        bound_at REAL NOT NULL,
        cloud TEXT,
        region TEXT,
        project_id TEXT,
        project_name TEXT,
        identity_url TEXT,
        block_storage_url TEXT,
        is_sandbox INTEGER NOT NULL
    ) STRICT"""
_IDENTITY_COLUMNS = "cloud, region, project_id, project_name, identity_url, block_storage_url, is_sandbox"
_HAS_IDENTITIES = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'target_identity'"
_IDENTITIES = f"SELECT target_id, bound_at, {_IDENTITY_COLUMNS} FROM target_identity ORDER BY target_id"
_BIND = f"""
    INSERT OR REPLACE INTO target_identity (target_id, bound_at, {_IDENTITY_COLUMNS})
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""

# Where both are to be sent, the row that was tried before is: it knows the images that were made for it.
_KNOWN_TWICE = """
    SELECT job.job_id, job.attempt, other.line FROM job JOIN job AS other
        ON other.volume_id = job.volume_id AND other.target_id = ?
        AND other.state NOT IN ('failed', 'skipped')
    WHERE job.target_id = ? AND job.state = 'pending'
        AND NOT (other.state = 'pending' AND other.first_intent_at IS NULL
            AND job.first_intent_at IS NOT NULL)"""
_LOG_KNOWN_TWICE = (
    "INSERT INTO operation (job_id, attempt, ended_at, outcome, reason) VALUES (?, ?, ?, 'skipped', ?)"
)
_SKIP_KNOWN_TWICE = (
    "UPDATE job SET state = 'skipped', next_at = 0, finished_at = ?, operation_id = ? WHERE job_id = ?"
)


def identities_of(ask: Ask) -> dict[int, CloudIdentity]:
    """What the targets were found to be, by target id; those never signed in to are left out."""
    if not ask(_HAS_IDENTITIES):
        return {}
    return {row[0]: _identity(row) for row in ask(_IDENTITIES)}


def bind(db: sqlite3.Connection, target_id: int, found: CloudIdentity, *, at: float, rebind: bool) -> None:
    """Note what a target is where nobody had; WrongCloudError where it is known to be another.

    With `rebind` the addresses of its services may have changed.
    """
    bound = identities_of(lambda statement: db.execute(statement).fetchall()).get(target_id)
    if bound is not None:
        check_bound(bound, found, rebind=rebind)
    if bound is None or rebind:
        db.execute(IDENTITY_TABLE)
        names = (found.cloud, found.region, found.project_id, found.project_name)
        addresses = (found.identity_url, found.block_storage_url, found.is_sandbox)
        db.execute(_BIND, (target_id, at, *names, *addresses))


def skip_known_twice(db: sqlite3.Connection, target_id: int, *, at: float) -> int:
    """How many pending jobs of the target were skipped: a target of the same project has their volumes.

    A list can name one project in two ways, by a cloud and by the default; only sign-in tells. Which of the
    two keeps the volume is decided by whose sign-in comes first.
    """
    known = identities_of(lambda statement: db.execute(statement).fetchall())
    mine = known.pop(target_id, None)
    same = [other for other, theirs in known.items() if mine is not None and _is_known_as(mine, theirs)]
    skipped = 0
    for other in same:
        db.execute(UNIQUE_INDEXES["volume_id"])
        for job_id, attempt, line in db.execute(_KNOWN_TWICE, (other, target_id)).fetchall():
            reason = f"line {line} names the same volume, and its cloud is the same project: sent only once"
            operation_id = db.execute(_LOG_KNOWN_TWICE, (job_id, attempt, at, reason)).lastrowid
            db.execute(_SKIP_KNOWN_TWICE, (at, operation_id, job_id))
            skipped += 1
    return skipped


def _is_known_as(mine: CloudIdentity, theirs: CloudIdentity) -> bool:
    """Whether two targets are surely the same project."""
    is_told = mine.project_id is not None and theirs.project_id is not None
    return (is_told or mine.is_sandbox) and difference(mine, theirs) is None


def check_bound(bound: CloudIdentity, found: CloudIdentity, *, rebind: bool) -> None:
    """Raise WrongCloudError where a state file that is bound to one cloud is used with another. Pure."""
    unlike = difference(bound, found)
    if unlike is None or (unlike == "address" and rebind):
        return
    hint = (
        f"sign in to the cloud of the state file; for another {unlike}, name another state file with --state"
    )
    if unlike == "address":
        hint += "; if only the addresses of this cloud have changed, use --rebind-cloud"
    if bound.is_sandbox:
        hint = "rehearsals on the sandbox do not count for a real cloud: use another --state"
    raise WrongCloudError(
        f"the state file belongs to {bound}, but this is {found}: another {unlike}; nothing was sent to it",
        hint=hint,
    )


def _identity(row: tuple[Any, ...]) -> CloudIdentity:
    moment(row[1])
    return CloudIdentity(
        cloud=row[2],
        region=row[3],
        project_id=row[4],
        project_name=row[5],
        identity_url=row[6],
        block_storage_url=row[7],
        is_sandbox=bool(row[8]),
    )


#: Rows that are skipped in one transaction.
_PAGE = 2000

_THERE = "('submitting', 'exporting', 'succeeded', 'ambiguous')"
_ANY_THERE = f"SELECT 1 FROM tally WHERE target_id = ? AND jobs > 0 AND state IN {_THERE}"
_SAME_VOLUMES = f"""
    SELECT mine.job_id, theirs.image_id
    FROM main.job AS theirs CROSS JOIN own.job AS mine ON mine.volume_id = theirs.volume_id
    WHERE theirs.target_id = ? AND theirs.state IN {_THERE}
        AND mine.target_id = ? AND mine.state = 'pending'"""
_LOG_EXPORTED = """
    INSERT INTO operation (job_id, attempt, ended_at, outcome, code, reason)
    SELECT job_id, attempt, ?, 'skipped', 'exported_elsewhere', ? FROM job
    WHERE job_id = ? AND target_id = ? AND state = 'pending'"""
_SKIP_EXPORTED = (
    "UPDATE job SET state = 'skipped', next_at = 0, finished_at = ?, operation_id = ? WHERE job_id = ?"
)


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


def skip_exported(
    db: sqlite3.Connection, target_id: int, rows: Sequence[ExportedElsewhere], *, at: float
) -> int:
    """How many of these jobs were pending still, and are skipped now."""
    skipped = 0
    for row in rows:
        cursor = db.execute(_LOG_EXPORTED, (at, row.reason, row.job_id, target_id))
        if cursor.rowcount == 1:
            db.execute(_SKIP_EXPORTED, (at, cursor.lastrowid, row.job_id))
            skipped += 1
    return skipped


def _of_one(own: Path, target_id: int, mine: TargetRecord, other: Path) -> Iterator[list[ExportedElsewhere]]:
    with closing(open_for_reading(other)) as db, reading(other):
        same = [
            theirs.target_id
            for theirs in target_records(db)
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


def target_records(db: sqlite3.Connection) -> list[TargetRecord]:
    """Every target, in the order in which the list names them."""
    identities = identities_of(lambda statement: db.execute(statement).fetchall())
    return [
        TargetRecord(
            target_id=target_id,
            key=TargetKey(*key),
            requests_per_second=rate,
            identity=identities.get(target_id),
        )
        for target_id, rate, *key in db.execute(
            "SELECT target_id, requests_per_second, cloud, region, project FROM target ORDER BY target_id"
        )
    ]
