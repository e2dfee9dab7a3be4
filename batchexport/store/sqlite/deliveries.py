"""The deliveries of a state file. The table is made when the first one is planned: most runs have none.

Programs that do not know the table leave it alone: it needs no new format.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from batchexport.deliveries import (
    MAY_START_FROM,
    Delivered,
    Delivery,
    DeliveryChange,
    DeliveryState,
    Failed,
    InDoubt,
    Planned,
    PutBack,
    Retried,
    Started,
)
from batchexport.errors import StateError
from batchexport.store.port import Reader, Work
from batchexport.store.sqlite.reader import StateReader
from batchexport.store.sqlite.sqlite_errors import reading
from batchexport.store.sqlite.work import SqliteWork

T = TypeVar("T")

_STATES = ", ".join(f"'{state}'" for state in DeliveryState)
TABLE = f"""CREATE TABLE IF NOT EXISTS delivery (
        delivery_id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES job,
        position INTEGER NOT NULL,
        image_id TEXT NOT NULL,
        destination TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ({_STATES})),
        attempt INTEGER NOT NULL DEFAULT 0,
        generation INTEGER NOT NULL DEFAULT 0,
        result_id TEXT,
        size_bytes INTEGER,
        image_hash TEXT,
        verified_by TEXT,
        reason TEXT,
        next_at REAL NOT NULL DEFAULT 0,
        started_at REAL,
        ended_at REAL,
        UNIQUE (job_id, image_id, destination)
    ) STRICT"""
_HAS_TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'delivery'"
_DELIVERIES = """
    SELECT delivery_id, delivery.job_id, line, volume_id, delivery.image_id, image_name, position,
        destination, delivery.state, delivery.attempt, generation, result_id, size_bytes,
        delivery.image_hash, verified_by, delivery.reason, delivery.next_at, started_at, ended_at
    FROM delivery JOIN job USING (job_id)
    WHERE {chosen} ORDER BY delivery.job_id, position, delivery_id"""
_PLAN = """
    INSERT INTO delivery (job_id, position, image_id, destination) VALUES (?, ?, ?, ?)
    ON CONFLICT (job_id, image_id, destination) DO UPDATE SET position = excluded.position"""
_ASSIGN = {
    Started: "state = 'delivering', result_id = ?, generation = ?, attempt = attempt + 1, started_at = ?",
    InDoubt: "state = 'in_doubt', reason = ?",
    PutBack: "state = 'pending', reason = ?, next_at = ?",
    Delivered: """state = 'delivered', result_id = ?, size_bytes = ?, image_hash = ?, verified_by = ?,
        ended_at = ?, reason = NULL""",
    Failed: "state = 'failed', reason = ?, ended_at = ?",
    Retried: "state = 'pending', next_at = 0, attempt = 0, ended_at = NULL",
}


class DeliveryBook:
    """The deliveries of one target, under its lease. Every change is durable on return."""

    def __init__(self, work: Work) -> None:
        """Raises StateError where the store of the target keeps no deliveries."""
        if not isinstance(work, SqliteWork):
            raise StateError(f"{work.path}: deliveries are kept in state files only")
        self._work = work

    async def commit(self, *changes: DeliveryChange) -> None:
        """Make these changes, all or none. Raises StateError where one is not allowed."""
        await self._ask(_make_all, changes=changes)

    async def deliveries(self) -> Sequence[Delivery]:
        """All deliveries of the target, in the order of the list."""
        return await self._ask(_of_target)

    async def _ask(self, operation: Callable[..., T], **values: object) -> T:
        return await self._work.ask(operation, **values)


def read_deliveries(reader: Reader) -> Sequence[Delivery]:
    """All deliveries of a store, in the order of the list; none where it keeps none."""
    if not isinstance(reader, StateReader):
        return ()
    with reading(reader.path):
        return reader.read(partial(_deliveries, chosen="TRUE", values=()))


def _of_target(db: sqlite3.Connection, target_id: int) -> list[Delivery]:
    return _deliveries(db, chosen="target_id = ?", values=(target_id,))


def _deliveries(db: sqlite3.Connection, *, chosen: str, values: Sequence[object]) -> list[Delivery]:
    if db.execute(_HAS_TABLE).fetchone() is None:
        return []
    fields = Delivery.__struct_fields__
    rows = db.execute(_DELIVERIES.format(chosen=chosen), values)
    records = (dict(zip(fields, row, strict=True)) for row in rows)
    return [Delivery(**record | {"state": DeliveryState(record["state"])}) for record in records]


def _make_all(db: sqlite3.Connection, target_id: int, changes: Sequence[DeliveryChange]) -> None:
    if db.execute(_HAS_TABLE).fetchone() is None:
        db.execute(TABLE)
    db.execute("SAVEPOINT deliveries")
    try:
        for change in changes:
            _make(db, change)
    except BaseException:
        db.execute("ROLLBACK TO deliveries")
        raise
    finally:
        db.execute("RELEASE deliveries")


def _make(db: sqlite3.Connection, change: DeliveryChange) -> None:
    if isinstance(change, Planned):
        db.execute(_PLAN, (change.job_id, change.position, change.image_id, change.destination))
        return
    delivery_id, *values = (getattr(change, name) for name in change.__struct_fields__)
    states = sorted(MAY_START_FROM[type(change)])
    marks = " OR ".join("state = ?" for _ in states)
    statement = f"UPDATE delivery SET {_ASSIGN[type(change)]} WHERE delivery_id = ? AND ({marks})"
    if db.execute(statement, (*values, delivery_id, *states)).rowcount != 1:
        raise StateError(f"delivery {delivery_id}: {type(change).__name__} is not allowed where it stands")
