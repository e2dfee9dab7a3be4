"""Servers that rows wait for: every question and change, each as one function on a connection.

A row that waits is pending with `next_at` = HELD, and is released when all of its servers are down. No server
is started while one of its rows may be sent: `start` holds them in its own transaction. Each time that a
server was down is kept as a line of `downtime` when it is over; that table is made with the first.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

from batchexport.model import InUse, JobState, Server, ServerState, TargetKey
from batchexport.store.records import AfootServer, LinkedRow
from batchexport.store.reports import Downtime
from batchexport.store.sqlite.history import Ask
from batchexport.store.sqlite.queries import JOB_COLUMNS, job_of
from batchexport.store.sqlite.schema import HELD, IS_HELD, IS_OUTSTANDING, IS_UNDER_WAY
from batchexport.store.sqlite.values import moment

#: The states of a resource, in the words for servers.
_SERVER_STATES = {
    "idle": ServerState.UNTOUCHED,
    "acquiring": ServerState.STOPPING,
    "held": ServerState.DOWN,
    "releasing": ServerState.STARTING,
    "released": ServerState.UP,
    "lost": ServerState.GONE,
}
_RESOURCE_STATES = {state: word for word, state in _SERVER_STATES.items()}

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
    WHERE resource_job.subject_id = resource.subject_id AND job.target_id = resource.target_id)"""
_KEEP_DOWNTIME = f"""
    INSERT INTO downtime (target_id, server_id, name, outcome, stopping_at, down_at, up_at, volume_ids)
    SELECT target_id, subject_id, name, ?, acquiring_at, held_at, ?, {_VOLUMES_OF_SERVER} FROM resource
    WHERE target_id = ? AND subject_id = ? AND {IS_OUTSTANDING}"""
_ENDED_DOWNTIMES = """
    SELECT target_id, server_id, name, outcome, stopping_at, down_at, up_at, NULL, volume_ids FROM downtime"""
_OPEN_DOWNTIMES = f"""
    SELECT target_id, subject_id, name, state, acquiring_at, held_at, NULL, note, {_VOLUMES_OF_SERVER}
    FROM resource
    WHERE {IS_OUTSTANDING}"""
# Files in which nobody kept lines know of the last time of each server.
_LAST_DOWNTIMES = f"""
    SELECT target_id, subject_id, name, state, acquiring_at, held_at, released_at, note, {_VOLUMES_OF_SERVER}
    FROM resource
    WHERE released_at IS NOT NULL AND acquiring_at IS NOT NULL AND NOT {IS_OUTSTANDING}"""


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


_SERVERS_OF_IT = (
    "(SELECT json_group_array(subject_id) FROM resource_job WHERE resource_job.job_id = job.job_id)"
)
_LINKED = f"SELECT {JOB_COLUMNS}, state, next_at = {HELD}, {_SERVERS_OF_IT} FROM job WHERE target_id = ?"
# They are the last of those that wait: so sorted, the index has them in the order of the list.
NEXT_HELD = f"{_LINKED} AND {IS_HELD} AND job_id > ? ORDER BY next_at, job_id LIMIT ?"
ROWS_OF = f"""{_LINKED}
    AND job_id IN (SELECT job_id FROM resource_job WHERE subject_id IN (SELECT value FROM json_each(?)))
    AND (state = 'pending' OR {IS_UNDER_WAY}) ORDER BY job_id"""
UNDER_WAY = f"""{_LINKED} AND {IS_UNDER_WAY}
    AND EXISTS (SELECT 1 FROM resource_job WHERE resource_job.job_id = job.job_id) ORDER BY job_id"""
DISTURBED = """
    SELECT job_id, resource.subject_id, name
    FROM job CROSS JOIN resource_job USING (job_id) CROSS JOIN resource
    WHERE job.target_id = ? AND (job.state = 'submitting' OR job.state = 'exporting')
    AND resource.target_id = job.target_id AND resource.kind = resource_job.kind
    AND resource.subject_id = resource_job.subject_id
    AND (resource.state = 'releasing' OR resource.state = 'released')"""
VOLUMES_OF = """
    SELECT DISTINCT volume_id FROM resource_job CROSS JOIN job USING (job_id)
    WHERE target_id = ? AND subject_id IN (SELECT value FROM json_each(?))"""
# SQLite by itself prefers the primary key, and reads all servers of the target.
AFOOT = f"""SELECT subject_id, name, state, acquiring_at FROM resource INDEXED BY resource_outstanding
    WHERE target_id = ? AND {IS_OUTSTANDING}"""
COUNT_AFOOT = f"SELECT count(*) FROM resource WHERE {IS_OUTSTANDING}"

HOLD = f"UPDATE job SET next_at = {HELD} WHERE job_id = ? AND target_id = ? AND state = 'pending'"
#: A row that goes finds its servers off: that they were up belongs to an earlier time.
_OFF_AGAIN = """
    UPDATE resource SET state = 'idle' WHERE target_id = ? AND kind = 'server' AND state = 'released'
    AND subject_id IN (SELECT subject_id FROM resource_job WHERE job_id = ?)"""
RELEASE = f"UPDATE job SET next_at = ? WHERE job_id = ? AND target_id = ? AND {IS_HELD}"
_FORGET_LINKS = "DELETE FROM resource_job WHERE job_id = ?"
_KNOW = "INSERT OR IGNORE INTO resource (target_id, subject_id) VALUES (?, ?)"
_LINK = "INSERT OR IGNORE INTO resource_job (job_id, subject_id) VALUES (?, ?)"

_THIS = "target_id = ? AND kind = 'server' AND subject_id = ?"
STOPPING = f"""
    UPDATE resource SET state = 'acquiring', name = ?, status_before = ?, acquiring_at = ?, held_at = NULL,
        released_at = NULL, note = NULL
    WHERE {_THIS}"""
DOWN = f"UPDATE resource SET state = 'held', held_at = ? WHERE {_THIS} AND state = 'acquiring'"
UP = f"UPDATE resource SET state = ?, released_at = ?, note = NULL WHERE {_THIS} AND {IS_OUTSTANDING}"
NOTE = f"UPDATE resource SET note = ? WHERE {_THIS} AND {IS_OUTSTANDING}"
RUNS = f"UPDATE resource SET state = 'released', released_at = ? WHERE {_THIS} AND NOT {IS_OUTSTANDING}"
_TARGETS_OF = f"SELECT target_id FROM resource WHERE subject_id = ? AND {IS_OUTSTANDING}"
START_ANYWAY = (
    f"UPDATE resource SET state = 'releasing' WHERE {_THIS} AND (state = 'acquiring' OR state = 'held')"
)
START = f"""{START_ANYWAY}
    AND NOT EXISTS (
        SELECT 1 FROM resource_job CROSS JOIN job USING (job_id)
        WHERE resource_job.subject_id = resource.subject_id AND job.target_id = resource.target_id
        AND (job.state = 'submitting' OR job.state = 'exporting'))"""
HOLD_ROWS_OF = f"""
    UPDATE job SET next_at = {HELD}
    WHERE target_id = ? AND state = 'pending'
    AND job_id IN (SELECT job_id FROM resource_job WHERE subject_id = ?)"""


def next_held(db: sqlite3.Connection, target_id: int, job_id: int, limit: int) -> list[LinkedRow]:
    """The first rows behind this one that wait for servers, in the order of the list."""
    return [_linked(row) for row in db.execute(NEXT_HELD, (target_id, job_id, limit))]


def rows_of(db: sqlite3.Connection, target_id: int, server_ids: Collection[str]) -> list[LinkedRow]:
    """The rows that hang on any of these servers and are not at their end, in the order of the list."""
    values = (target_id, json.dumps(list(server_ids)))
    return [_linked(row) for row in db.execute(ROWS_OF, values)]


def under_way(db: sqlite3.Connection, target_id: int) -> list[LinkedRow]:
    """The rows that were sent and hang on servers, in the order of the list."""
    return [_linked(row) for row in db.execute(UNDER_WAY, (target_id,))]


def disturbed(db: sqlite3.Connection, target_id: int) -> dict[int, str]:
    """By job id, the server that came up while the volume of the row was being exported."""
    return {
        job_id: f"{server_id} ({name})" if name else server_id
        for job_id, server_id, name in db.execute(DISTURBED, (target_id,))
    }


def volumes_of(db: sqlite3.Connection, target_id: int, server_ids: Collection[str]) -> frozenset[str]:
    """The volumes of all rows that hang on these servers, whatever became of them."""
    values = (target_id, json.dumps(list(server_ids)))
    return frozenset(volume_id for (volume_id,) in db.execute(VOLUMES_OF, values))


def afoot(db: sqlite3.Connection, target_id: int) -> list[AfootServer]:
    """The servers of a target that are not up again."""
    return [
        AfootServer(server_id=server_id, name=name, state=server_state(state), stopping_at=stopping_at)
        for server_id, name, state, stopping_at in db.execute(AFOOT, (target_id,))
    ]


def count_afoot(db: sqlite3.Connection) -> int:
    """How many servers of all targets are not up again."""
    return int(db.execute(COUNT_AFOOT).fetchone()[0])


def hold(db: sqlite3.Connection, target_id: int, job_id: int, server_ids: Sequence[str]) -> None:
    """A pending row waits for these servers."""
    db.execute(HOLD, (job_id, target_id))
    link(db, target_id, job_id, server_ids)


def link(db: sqlite3.Connection, target_id: int, job_id: int, server_ids: Sequence[str]) -> None:
    """The row hangs on these servers, and on no others."""
    db.execute(_FORGET_LINKS, (job_id,))
    for server_id in server_ids:
        db.execute(_KNOW, (target_id, server_id))
        db.execute(_LINK, (job_id, server_id))


def release(db: sqlite3.Connection, target_id: int, job_ids: Iterable[int], *, next_at: float) -> None:
    """These rows wait for servers no longer; those with a time go before those with 0."""
    for job_id in job_ids:
        db.execute(RELEASE, (next_at, job_id, target_id))
        db.execute(_OFF_AGAIN, (target_id, job_id))


def let_go(db: sqlite3.Connection, target_id: int, job_ids: Sequence[int]) -> None:
    """These rows have nothing to do with servers any more."""
    db.executemany(_FORGET_LINKS, [(job_id,) for job_id in job_ids])
    release(db, target_id, job_ids, next_at=0.0)


def stopping(db: sqlite3.Connection, target_id: int, servers: Sequence[Server], *, at: float) -> None:
    """These are about to be asked to stop, and were found like this."""
    for server in servers:
        db.execute(_KNOW, (target_id, server.server_id))
        db.execute(STOPPING, (server.name, server.status, at, target_id, server.server_id))


def down(db: sqlite3.Connection, target_id: int, server_ids: Collection[str], *, at: float) -> None:
    """These have stopped."""
    db.executemany(DOWN, [(at, target_id, server_id) for server_id in server_ids])


def start(
    db: sqlite3.Connection, target_id: int, server_ids: Collection[str], *, anyway: bool = False
) -> frozenset[str]:
    """Those of these that may be asked to start: none of their volumes is being copied, unless `anyway`, and
    none will be while they are up.
    """
    statement = START_ANYWAY if anyway else START
    started = {
        server_id for server_id in server_ids if db.execute(statement, (target_id, server_id)).rowcount == 1
    }
    _hold_rows_of(db, target_id, started)
    return frozenset(started)


def up(
    db: sqlite3.Connection, target_id: int, server_ids: Collection[str], state: ServerState, *, at: float
) -> None:
    """These are up again, or gone; nothing begins on their volumes until they are down again."""
    for server_id in server_ids:
        keep_downtime(db, target_id, server_id, state, at=at)
    db.executemany(UP, [(_RESOURCE_STATES[state], at, target_id, server_id) for server_id in server_ids])
    _hold_rows_of(db, target_id, server_ids)


def runs(db: sqlite3.Connection, target_id: int, server_ids: Collection[str], *, at: float) -> None:
    """These, which are not ours to start, were seen running."""
    db.executemany(RUNS, [(at, target_id, server_id) for server_id in server_ids])


def give_up(db: sqlite3.Connection, server_id: str, words: str, *, at: float) -> int:
    """Somebody decided that we are not to start this server; for how many targets it was not up."""
    target_ids = [target_id for (target_id,) in db.execute(_TARGETS_OF, (server_id,))]
    for target_id in target_ids:
        up(db, target_id, [server_id], ServerState.GONE, at=at)
        db.execute(f"UPDATE resource SET note = ? WHERE {_THIS}", (words, target_id, server_id))
    return len(target_ids)


def note(db: sqlite3.Connection, target_id: int, server_id: str, words: str) -> None:
    """What is wrong with a server."""
    db.execute(NOTE, (words, target_id, server_id))


def agree(db: sqlite3.Connection, in_use: InUse) -> None:
    """Somebody agreed to servers being stopped by this run, with this word for rows that say nothing."""
    db.execute("UPDATE run SET in_use = ?, may_stop = 1", (in_use,))


def _hold_rows_of(db: sqlite3.Connection, target_id: int, server_ids: Iterable[str]) -> None:
    db.executemany(HOLD_ROWS_OF, [(target_id, server_id) for server_id in server_ids])


def _linked(row: tuple[object, ...]) -> LinkedRow:
    *job, state, held, server_ids = row
    return LinkedRow(
        job=job_of(tuple(job)),
        state=JobState(str(state)),
        held=bool(held),
        server_ids=tuple(sorted(json.loads(str(server_ids)))),
    )
