"""When servers were down for exports, and for which volumes: a line for each time, kept when it is over.

The table is made when the first server is up again: files without one are of no older format.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

import msgspec

from batchexport.model import ServerState, TargetKey
from batchexport.store.history import Ask
from batchexport.store.moments import moment
from batchexport.store.schema import IS_AFOOT

_TABLE = """
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
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'downtime'"
_VOLUMES = """(
    SELECT json_group_array(volume_id) FROM job_server JOIN job USING (job_id)
    WHERE job_server.server_id = server.server_id AND job.target_id = server.target_id)"""
_KEEP = f"""
    INSERT INTO downtime (target_id, server_id, name, outcome, stopping_at, down_at, up_at, volume_ids)
    SELECT target_id, server_id, name, ?, stopping_at, down_at, ?, {_VOLUMES} FROM server
    WHERE target_id = ? AND server_id = ? AND {IS_AFOOT}"""
_OVER = """
    SELECT target_id, server_id, name, outcome, stopping_at, down_at, up_at, NULL, volume_ids FROM downtime"""
_AFOOT = f"""
    SELECT target_id, server_id, name, state, stopping_at, down_at, NULL, note, {_VOLUMES} FROM server
    WHERE {IS_AFOOT}"""
# Files in which nobody kept lines know of the last time of each server.
_LAST = f"""
    SELECT target_id, server_id, name, state, stopping_at, down_at, up_at, note, {_VOLUMES} FROM server
    WHERE up_at IS NOT NULL AND stopping_at IS NOT NULL AND NOT {IS_AFOOT}"""


class Downtime(msgspec.Struct, frozen=True, kw_only=True):
    """One time that a server was stopped for exports."""

    target: TargetKey
    server_id: str
    name: str | None
    state: ServerState  #: up or gone at its end; else where it stands
    stopping_at: float | None  #: when it was first asked to stop
    down_at: float | None  #: None = it was not seen down
    up_at: float | None  #: when it was seen up again; None = it is not
    note: str | None  #: what is wrong with it while it is not up
    volume_ids: tuple[str, ...]  #: for which it was stopped

    @property
    def is_over(self) -> bool:
        """Whether the server is up again, or gone."""
        return self.up_at is not None


def keep(db: sqlite3.Connection, target_id: int, server_id: str, state: ServerState, *, at: float) -> None:
    """Keep the time that ends now; to be called before the server is noted as up."""
    db.execute(_TABLE)
    db.execute(_KEEP, (state, at, target_id, server_id))


def downtimes(ask: Ask, keys: Mapping[int, TargetKey]) -> list[Downtime]:
    """Every time that a server was stopped, those that go on included, in the order in which they began."""
    rows = [*ask(_AFOOT), *ask(_OVER if ask(_IS_THERE) else _LAST)]
    found = [
        Downtime(
            target=keys[row[0]],
            server_id=row[1],
            name=row[2],
            state=ServerState(row[3]),
            stopping_at=moment(row[4]),
            down_at=moment(row[5]),
            up_at=moment(row[6]),
            note=row[7],
            volume_ids=tuple(json.loads(row[8])),
        )
        for row in rows
    ]
    return sorted(found, key=lambda each: (each.stopping_at or 0.0, each.server_id))
