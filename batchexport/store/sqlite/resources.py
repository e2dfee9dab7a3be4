"""Resources that rows wait for: every question and change, each as one function on a connection.

A row that waits is pending with `next_at` = HELD, and is released when all that it needs is held. No resource
is released while one of its rows may be sent: `start_release` holds them in its own transaction. Each time
that a server was down is kept as a line of `downtime` when it is over; that table is made with the first.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

from batchexport.changes import DuplicateFound, Planned, ResourceFound
from batchexport.model import InUse, JobState, ResourceRef, ResourceState, ServerState, TargetKey
from batchexport.store.records import JobWithResources, Resource
from batchexport.store.reports import Downtime
from batchexport.store.sqlite.history import Ask
from batchexport.store.sqlite.queries import JOB_COLUMNS, job_of
from batchexport.store.sqlite.schema import HELD, IS_HELD, IS_OUTSTANDING, IS_UNDER_WAY
from batchexport.store.sqlite.values import moment

#: The states of a resource and the ends of downtimes, in the words for servers.
_SERVER_STATES = {
    "idle": ServerState.IDLE,
    "acquiring": ServerState.STOPPING,
    "held": ServerState.STOPPED,
    "releasing": ServerState.STARTING,
    "released": ServerState.RESTORED,
    "lost": ServerState.LOST,
    "up": ServerState.RESTORED,  # downtimes that earlier versions kept
    "gone": ServerState.LOST,
}

DOWNTIME_TABLE = """
    CREATE TABLE IF NOT EXISTS downtime (
        downtime_id INTEGER PRIMARY KEY,
        target_id INTEGER NOT NULL REFERENCES target,
        server_id TEXT NOT NULL,
        name TEXT,
        outcome TEXT NOT NULL,
        stopping_at REAL,
        down_at REAL,
        up_at REAL NOT NULL,
        volume_ids TEXT NOT NULL
    ) STRICT"""
_HAS_DOWNTIMES = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'downtime'"
_VOLUMES_OF_SERVER = """(
    SELECT json_group_array(volume_id) FROM resource_job JOIN job USING (job_id)
    WHERE resource_job.subject_id = resource.subject_id AND resource_job.kind = resource.kind
    AND job.target_id = resource.target_id)"""
_KEEP_DOWNTIME = f"""
    INSERT INTO downtime (target_id, server_id, name, outcome, stopping_at, down_at, up_at, volume_ids)
    SELECT target_id, subject_id, name, ?, acquiring_at, held_at, ?, {_VOLUMES_OF_SERVER} FROM resource
    WHERE target_id = ? AND kind = 'server' AND subject_id = ? AND {IS_OUTSTANDING}"""
_ENDED_DOWNTIMES = """
    SELECT target_id, server_id, name, outcome, stopping_at, down_at, up_at, NULL, volume_ids FROM downtime"""
_OPEN_DOWNTIMES = f"""
    SELECT target_id, subject_id, name, state, acquiring_at, held_at, NULL, note, {_VOLUMES_OF_SERVER}
    FROM resource
    WHERE kind = 'server' AND {IS_OUTSTANDING}"""
# Files in which nobody kept lines know of the last time of each server.
_LAST_DOWNTIMES = f"""
    SELECT target_id, subject_id, name, state, acquiring_at, held_at, released_at, note, {_VOLUMES_OF_SERVER}
    FROM resource
    WHERE kind = 'server' AND released_at IS NOT NULL AND acquiring_at IS NOT NULL AND NOT {IS_OUTSTANDING}"""


def server_state(word: str) -> ServerState:
    """The state of a server that is kept as that of a resource, or by its own name. Raises ValueError."""
    return _SERVER_STATES.get(word) or ServerState(word)


def keep_downtime(
    db: sqlite3.Connection, target_id: int, server_id: str, state: ServerState, *, at: float
) -> None:
    """Keep the time that ends now; to be called before the server is noted as up."""
    db.execute(DOWNTIME_TABLE)
    db.execute(_KEEP_DOWNTIME, (state, at, target_id, server_id))


def downtimes(ask: Ask, keys: Mapping[int, TargetKey]) -> list[Downtime]:
    """Every time that a server was stopped, those that go on included, in the order in which they began."""
    rows = [*ask(_OPEN_DOWNTIMES), *ask(_ENDED_DOWNTIMES if ask(_HAS_DOWNTIMES) else _LAST_DOWNTIMES)]
    found = [
        Downtime(
            target=keys[row[0]],
            server_id=row[1],
            name=row[2],
            state=server_state(row[3]),
            stopping_at=moment(row[4]),
            down_at=moment(row[5]),
            up_at=moment(row[6]),
            note=row[7],
            volume_ids=tuple(json.loads(row[8])),
        )
        for row in rows
    ]
    return sorted(found, key=lambda each: (each.stopping_at or 0.0, each.server_id))


#: The kinds that were asked for.
_OF_KINDS = "kind IN (SELECT value FROM json_each(?))"
_NEEDS = f"""(SELECT json_group_array(subject_id) FROM resource_job
    WHERE resource_job.job_id = job.job_id AND {_OF_KINDS})"""
_LINKED = f"SELECT {JOB_COLUMNS}, state, next_at = {HELD}, {_NEEDS} FROM job WHERE target_id = ?"
# They are the last of those that wait: so sorted, the index has them in the order of the list.
NEXT_HELD = f"{_LINKED} AND {IS_HELD} AND job_id > ? ORDER BY next_at, job_id LIMIT ?"
ROWS_OF = f"""{_LINKED}
    AND job_id IN (SELECT job_id FROM resource_job WHERE subject_id IN (SELECT value FROM json_each(?)))
    AND (state = 'pending' OR {IS_UNDER_WAY}) ORDER BY job_id"""
UNDER_WAY = f"""{_LINKED} AND {IS_UNDER_WAY}
    AND EXISTS (SELECT 1 FROM resource_job WHERE resource_job.job_id = job.job_id AND {_OF_KINDS})
    ORDER BY job_id"""
DISTURBED = """
    SELECT job_id, resource.subject_id, name
    FROM job CROSS JOIN resource_job USING (job_id) CROSS JOIN resource
    WHERE job.target_id = ? AND (job.state = 'submitting' OR job.state = 'exporting')
    AND resource.target_id = job.target_id AND resource.kind = resource_job.kind
    AND resource.subject_id = resource_job.subject_id AND resource.kind = 'server'
    AND (resource.state = 'releasing' OR resource.state = 'released')"""
VOLUMES_OF = """
    SELECT DISTINCT volume_id FROM resource_job CROSS JOIN job USING (job_id)
    WHERE target_id = ? AND subject_id IN (SELECT value FROM json_each(?))"""
# SQLite by itself prefers the primary key, and reads all resources of the target.
OUTSTANDING = f"""
    SELECT kind, subject_id, name, state, acquiring_at, cloud_id, depends_on, volume_id, size_gib,
        note
    FROM resource INDEXED BY resource_outstanding WHERE target_id = ? AND {IS_OUTSTANDING} AND {_OF_KINDS}"""
COUNT_OUTSTANDING = f"SELECT count(*) FROM resource WHERE {IS_OUTSTANDING}"

HOLD = f"UPDATE job SET next_at = {HELD} WHERE job_id = ? AND target_id = ? AND state = 'pending'"
#: A row that goes finds its servers off: that they were up belongs to an earlier time.
_OFF_AGAIN = """
    UPDATE resource SET state = 'idle' WHERE target_id = ? AND kind = 'server' AND state = 'released'
    AND subject_id IN (SELECT subject_id FROM resource_job WHERE job_id = ?)"""
RELEASE = f"UPDATE job SET next_at = ? WHERE job_id = ? AND target_id = ? AND {IS_HELD}"
_FORGET_LINKS = "DELETE FROM resource_job WHERE job_id = ?"
_KNOW = "INSERT OR IGNORE INTO resource (target_id, kind, subject_id) VALUES (?, ?, ?)"
_PLAN = """
    INSERT OR IGNORE INTO resource (target_id, kind, subject_id, depends_on, volume_id, size_gib)
    VALUES (?, ?, ?, ?, ?, ?)"""
_LINK = "INSERT OR IGNORE INTO resource_job (job_id, kind, subject_id) VALUES (?, ?, ?)"

_THIS = "target_id = ? AND kind = ? AND subject_id = ?"
ACQUIRING = f"""
    UPDATE resource SET state = 'acquiring', name = ?, status_before = ?, acquiring_at = ?, held_at = NULL,
        released_at = NULL, note = NULL, cloud_id = NULL
    WHERE {_THIS}"""
HELD_NOW = f"UPDATE resource SET state = 'held', held_at = ? WHERE {_THIS} AND state = 'acquiring'"
CREATED = f"UPDATE resource SET cloud_id = ? WHERE {_THIS} AND {IS_OUTSTANDING} AND cloud_id IS NULL"
_DUPLICATE = """
    INSERT OR IGNORE INTO resource
        (target_id, kind, subject_id, state, acquiring_at, held_at, cloud_id, volume_id)
    VALUES (?, ?, ?, 'held', ?, ?, ?, ?)"""
RELEASED = f"UPDATE resource SET state = ?, released_at = ?, note = NULL WHERE {_THIS} AND {IS_OUTSTANDING}"
NOTE = f"UPDATE resource SET note = ? WHERE {_THIS} AND {IS_OUTSTANDING}"
SEEN_FREE = f"UPDATE resource SET state = 'released', released_at = ? WHERE {_THIS} AND NOT {IS_OUTSTANDING}"
_KINDS_OF = f"SELECT kind FROM resource WHERE target_id = ? AND subject_id = ? AND {IS_OUTSTANDING}"
START_RELEASE_ANYWAY = (
    f"UPDATE resource SET state = 'releasing' WHERE {_THIS} AND (state = 'acquiring' OR state = 'held')"
)
START_RELEASE = f"""{START_RELEASE_ANYWAY}
    AND NOT EXISTS (
        SELECT 1 FROM resource_job CROSS JOIN job USING (job_id)
        WHERE resource_job.subject_id = resource.subject_id AND resource_job.kind = resource.kind
        AND job.target_id = resource.target_id AND (job.state = 'submitting' OR job.state = 'exporting'))"""
HOLD_ROWS_OF = f"""
    UPDATE job SET next_at = {HELD}
    WHERE target_id = ? AND state = 'pending'
    AND job_id IN (SELECT job_id FROM resource_job WHERE kind = ? AND subject_id = ?)"""


def next_held(
    db: sqlite3.Connection, target_id: int, kinds: Collection[str], job_id: int, limit: int
) -> list[JobWithResources]:
    """The first rows behind this one that wait for resources of any kind, in the order of the list."""
    return [_linked(row) for row in db.execute(NEXT_HELD, (_json(kinds), target_id, job_id, limit))]


def rows_of(
    db: sqlite3.Connection, target_id: int, kinds: Collection[str], resource_ids: Collection[str]
) -> list[JobWithResources]:
    """The rows that need any of these and are not at their end, in the order of the list."""
    return [_linked(row) for row in db.execute(ROWS_OF, (_json(kinds), target_id, _json(resource_ids)))]


def under_way(db: sqlite3.Connection, target_id: int, kinds: Collection[str]) -> list[JobWithResources]:
    """The rows that were sent and need resources of these kinds, in the order of the list."""
    return [_linked(row) for row in db.execute(UNDER_WAY, (_json(kinds), target_id, _json(kinds)))]


def disturbed(db: sqlite3.Connection, target_id: int) -> dict[int, str]:
    """By job id, the server that came up while the volume of the row was being exported."""
    return {
        job_id: f"{server_id} ({name})" if name else server_id
        for job_id, server_id, name in db.execute(DISTURBED, (target_id,))
    }


def volumes_of(db: sqlite3.Connection, target_id: int, resource_ids: Collection[str]) -> frozenset[str]:
    """The volumes of all rows that need these, whatever became of them."""
    return frozenset(volume_id for (volume_id,) in db.execute(VOLUMES_OF, (target_id, _json(resource_ids))))


def outstanding(db: sqlite3.Connection, target_id: int, kinds: Collection[str]) -> list[Resource]:
    """The resources of a target that are to be released."""
    return [
        Resource(
            kind=row[0],
            resource_id=row[1],
            name=row[2],
            state=ResourceState(row[3]),
            acquiring_at=row[4],
            cloud_id=row[5],
            depends_on=row[6],
            volume_id=row[7],
            size_gib=row[8],
            note=row[9],
        )
        for row in db.execute(OUTSTANDING, (target_id, _json(kinds)))
    ]


def count_outstanding(db: sqlite3.Connection) -> int:
    """How many resources of all targets are to be released."""
    return int(db.execute(COUNT_OUTSTANDING).fetchone()[0])


def hold(db: sqlite3.Connection, target_id: int, job_id: int, needs: Collection[Planned]) -> None:
    """A pending row waits for these."""
    db.execute(HOLD, (job_id, target_id))
    link(db, target_id, job_id, needs)


def link(db: sqlite3.Connection, target_id: int, job_id: int, needs: Collection[Planned]) -> None:
    """The row needs these, and no others."""
    db.execute(_FORGET_LINKS, (job_id,))
    for each in sorted(needs, key=lambda each: each.ref):
        db.execute(_PLAN, (target_id, *each.ref, each.depends_on, each.volume_id, each.size_gib))
        db.execute(_LINK, (job_id, *each.ref))


def release(db: sqlite3.Connection, target_id: int, job_ids: Iterable[int], *, next_at: float) -> None:
    """These rows wait for resources no longer; those with a time go before those with 0."""
    for job_id in job_ids:
        db.execute(RELEASE, (next_at, job_id, target_id))
        db.execute(_OFF_AGAIN, (target_id, job_id))


def let_go(db: sqlite3.Connection, target_id: int, job_ids: Sequence[int]) -> None:
    """These rows have nothing to do with resources any more."""
    db.executemany(_FORGET_LINKS, [(job_id,) for job_id in job_ids])
    release(db, target_id, job_ids, next_at=0.0)


def acquiring(db: sqlite3.Connection, target_id: int, found: Sequence[ResourceFound], *, at: float) -> None:
    """These are about to be requested, and were found like this."""
    for each in found:
        db.execute(_KNOW, (target_id, *each.ref))
        db.execute(ACQUIRING, (each.name, each.status, at, target_id, *each.ref))


def held(db: sqlite3.Connection, target_id: int, refs: Collection[ResourceRef], *, at: float) -> None:
    """These are acquired."""
    db.executemany(HELD_NOW, [(at, target_id, *ref) for ref in refs])


def created(db: sqlite3.Connection, target_id: int, ref: ResourceRef, cloud_id: str) -> None:
    """The cloud's id of what was created; the first stays."""
    db.execute(CREATED, (cloud_id, target_id, *ref))


def duplicate(db: sqlite3.Connection, target_id: int, found: DuplicateFound) -> None:
    """A second one of a name, to be released by itself."""
    values = (*found.resource, found.at_s, found.at_s, found.cloud_id, found.volume_id)
    db.execute(_DUPLICATE, (target_id, *values))


def start_release(
    db: sqlite3.Connection, target_id: int, refs: Collection[ResourceRef], *, anyway: bool = False
) -> frozenset[ResourceRef]:
    """Those of these that may be released: none of their rows is being exported, unless `anyway`, and none
    will be before they are held again.
    """
    statement = START_RELEASE_ANYWAY if anyway else START_RELEASE
    started = {ref for ref in refs if db.execute(statement, (target_id, *ref)).rowcount == 1}
    _hold_rows_of(db, target_id, started)
    return frozenset(started)


def released(
    db: sqlite3.Connection, target_id: int, refs: Collection[ResourceRef], *, is_lost: bool, at: float
) -> None:
    """These are released, or lost; nothing begins for their rows until they are held again."""
    for ref in refs:
        if ref.kind == "server":
            outcome = ServerState.LOST if is_lost else ServerState.RESTORED
            keep_downtime(db, target_id, ref.resource_id, outcome, at=at)
    state = ResourceState.LOST if is_lost else ResourceState.RELEASED
    db.executemany(RELEASED, [(state, at, target_id, *ref) for ref in refs])
    _hold_rows_of(db, target_id, refs)


def seen_free(db: sqlite3.Connection, target_id: int, refs: Collection[ResourceRef], *, at: float) -> None:
    """These, which are not ours to release, were seen free."""
    db.executemany(SEEN_FREE, [(at, target_id, *ref) for ref in refs])


def give_up(db: sqlite3.Connection, target_id: int, resource_id: str, reason: str, *, at: float) -> None:
    """Somebody decided that we are not to release this; nothing where it is not outstanding."""
    kinds = db.execute(_KINDS_OF, (target_id, resource_id)).fetchall()
    for ref in [ResourceRef(kind, resource_id) for (kind,) in kinds]:
        released(db, target_id, [ref], is_lost=True, at=at)
        db.execute(f"UPDATE resource SET note = ? WHERE {_THIS}", (reason, target_id, *ref))


def note(db: sqlite3.Connection, target_id: int, ref: ResourceRef, words: str) -> None:
    """What is wrong with a resource."""
    db.execute(NOTE, (words, target_id, *ref))


def agree(db: sqlite3.Connection, in_use: InUse) -> None:
    """Somebody agreed to servers being stopped by this run, with this word for rows that say nothing."""
    db.execute("UPDATE run SET in_use = ?, may_stop = 1", (in_use,))


def _hold_rows_of(db: sqlite3.Connection, target_id: int, refs: Iterable[ResourceRef]) -> None:
    db.executemany(HOLD_ROWS_OF, [(target_id, *ref) for ref in refs])


def _json(values: Collection[str]) -> str:
    return json.dumps(list(values))


def _linked(row: tuple[object, ...]) -> JobWithResources:
    *job, state, is_held, needs = row
    return JobWithResources(
        job=job_of(tuple(job)),
        state=JobState(str(state)),
        held=bool(is_held),
        needs=tuple(sorted(json.loads(str(needs)))),
    )
