"""The deliveries of a state file. The table is made when the first one is planned: most runs have none.

Programs that do not know the table leave it alone: it needs no new format.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from batchexport.deliveries import (
    MAY_START_FROM,
    DeliverableRow,
    Delivered,
    Delivery,
    DeliveryChange,
    DeliveryCounts,
    DeliveryPolicy,
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
from batchexport.store.sqlite.values import options_from_text
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
    SELECT delivery_id, delivery.job_id, line, volume_id, size_gib, delivery.image_id, image_name, position,
        destination, delivery.state, delivery.attempt, generation, result_id, size_bytes,
        delivery.image_hash, verified_by, delivery.reason, delivery.next_at, started_at, ended_at
    FROM delivery JOIN job USING (job_id)
    WHERE {chosen} ORDER BY delivery.job_id, position, delivery_id"""
POLICY_TABLE = """CREATE TABLE IF NOT EXISTS delivery_policy (
        target_id INTEGER PRIMARY KEY REFERENCES target,
        destinations TEXT NOT NULL,
        drop_source INTEGER NOT NULL
    ) STRICT"""
_HAS_POLICY = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'delivery_policy'"
_POLICIES = "SELECT target_id, destinations, drop_source FROM delivery_policy ORDER BY target_id"
_NOTE_POLICY = (
    "INSERT OR REPLACE INTO delivery_policy (target_id, destinations, drop_source) VALUES (?, ?, ?)"
)
#: Rows that are read at once.
_PAGE = 1000
_EXPORTED = """
    SELECT job_id, image_id, options FROM job
    WHERE target_id = ? AND state = 'succeeded' AND image_id IS NOT NULL AND job_id > ?
    ORDER BY job_id LIMIT ?"""
_STATES_OF = """
    SELECT job_id, image_id, destination, state FROM delivery WHERE job_id > ? AND job_id <= ?"""
_BYTES = "SELECT coalesce(sum(size_bytes), 0) FROM delivery WHERE state = 'delivered'"
_DROPPED = """
    SELECT job_id, subject FROM operation
    WHERE kind = 'delete_image' AND (outcome = 'removed' OR outcome = 'gone')
        AND job_id > ? AND job_id <= ?"""
_TALLY = "SELECT state, count(*), coalesce(sum(size_bytes), 0) FROM delivery GROUP BY state"
_OPTIONS = "SELECT DISTINCT options FROM job WHERE options IS NOT NULL AND options LIKE ?"
#: The name of the option in the text of a row's options.
_NAMED = '%"deliver"%'
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

    async def deliveries(
        self, *, job_ids: Collection[int] | None = None, delivery_ids: Collection[int] | None = None
    ) -> Sequence[Delivery]:
        """The deliveries of the target, in the order of the list: all, those of these jobs, or these."""
        return await self._ask(_of_target, job_ids=job_ids, delivery_ids=delivery_ids)

    async def note_policy(self, policy: DeliveryPolicy) -> None:
        """Let later processes that are told nothing go by this policy."""
        await self._ask(_note_policy, policy=policy)

    async def exported(self, policy: DeliveryPolicy, *, after: int) -> Sequence[DeliverableRow]:
        """The first rows behind job `after` that have their image, a page of them; empty at the end."""
        return await self._ask(_page, policy=policy, after=after)

    async def _ask(self, operation: Callable[..., T], **values: object) -> T:
        return await self._work.ask(operation, **values)


def read_deliveries(reader: Reader) -> Sequence[Delivery]:
    """All deliveries of a store, in the order of the list; none where it keeps none."""
    if not isinstance(reader, StateReader):
        return ()
    with reading(reader.path):
        return reader.read(partial(_deliveries, chosen="TRUE", values=()))


def read_policy(reader: Reader) -> DeliveryPolicy | None:
    """Where the images of a run go, as it was last told; None = it never delivered anything."""
    if not isinstance(reader, StateReader):
        return None
    with reading(reader.path):
        return reader.read(lambda db: next(iter(_policies(db).values()), None))


def read_row_destinations(reader: Reader) -> Sequence[str]:
    """Every destination that rows of the list name themselves, each once."""
    if not isinstance(reader, StateReader):
        return ()
    with reading(reader.path):
        texts = reader.read(lambda db: [text for (text,) in db.execute(_OPTIONS, (_NAMED,))])
    named = [each for text in texts for each in options_from_text(text).deliver or ()]
    return list(dict.fromkeys(named))


def count_deliveries(reader: Reader) -> DeliveryCounts | None:
    """How far the deliveries of a run are; None = it delivers nothing."""
    if not isinstance(reader, StateReader):
        return None
    with reading(reader.path):
        return reader.read(_count)


def awaited_images(reader: Reader) -> Mapping[str, Sequence[str]]:
    """The images that are still to go somewhere, by id, and where to."""
    if not isinstance(reader, StateReader):
        return {}
    with reading(reader.path):
        return reader.read(_awaited)


def tally_deliveries(reader: Reader) -> Mapping[DeliveryState, tuple[int, int]] | None:
    """How many deliveries are on record in each state, and their bytes; None where there never were any."""
    if not isinstance(reader, StateReader):
        return None
    with reading(reader.path):
        return reader.read(_tally)


def _tally(db: sqlite3.Connection) -> Mapping[DeliveryState, tuple[int, int]] | None:
    if db.execute(_HAS_TABLE).fetchone() is None or not (rows := db.execute(_TALLY).fetchall()):
        return None
    return {DeliveryState(state): (number, int(size)) for state, number, size in rows}


def _count(db: sqlite3.Connection) -> DeliveryCounts | None:
    if not (policies := _policies(db)):
        return None
    counts, undelivered, still_open, undropped = Counter[DeliveryState](), 0, 0, 0
    for target_id, policy in policies.items():
        after = 0
        while page := _page(db, target_id, policy=policy, after=after):
            after = page[-1].job_id
            for row in page:
                counts.update(row.states.values())
                undelivered += not row.is_delivered
                still_open += row.is_open
                undropped += policy.drop_source and row.can_be_dropped and not row.is_dropped
    ((size,),) = db.execute(_BYTES).fetchall() if db.execute(_HAS_TABLE).fetchone() else [(0,)]
    return DeliveryCounts(
        deliveries=counts,
        bytes_delivered=size,
        rows_undelivered=undelivered,
        rows_open=still_open,
        undropped=undropped,
    )


def _awaited(db: sqlite3.Connection) -> Mapping[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    for target_id, policy in _policies(db).items():
        after = 0
        while page := _page(db, target_id, policy=policy, after=after):
            after = page[-1].job_id
            found |= {row.image_id: row.open_destinations for row in page if row.is_open}
    return found


def _page(db: sqlite3.Connection, target_id: int, policy: DeliveryPolicy, after: int) -> list[DeliverableRow]:
    rows = db.execute(_EXPORTED, (target_id, after, _PAGE)).fetchall()
    states: dict[tuple[int, str, str], DeliveryState] = {}
    if rows and db.execute(_HAS_TABLE).fetchone() is not None:
        for job_id, image_id, destination, state in db.execute(_STATES_OF, (rows[0][0] - 1, rows[-1][0])):
            states[job_id, image_id, destination] = DeliveryState(state)
    found, dropped = [], set[tuple[int, str]]()
    if rows and policy.drop_source:
        dropped = set(db.execute(_DROPPED, (rows[0][0] - 1, rows[-1][0])))
    for job_id, image_id, options in rows:
        destinations = policy.of(options_from_text(options).deliver)
        its = {each: states.get((job_id, image_id, each), DeliveryState.PENDING) for each in destinations}
        found.append(
            DeliverableRow(
                job_id=job_id,
                image_id=image_id,
                destinations=destinations,
                states=its,
                is_dropped=(job_id, image_id) in dropped,
            )
        )
    return found


def _policies(db: sqlite3.Connection) -> dict[int, DeliveryPolicy]:
    if db.execute(_HAS_POLICY).fetchone() is None:
        return {}
    return {
        target_id: DeliveryPolicy(
            destinations=msgspec.json.decode(text, type=tuple[str, ...]), drop_source=bool(drop)
        )
        for target_id, text, drop in db.execute(_POLICIES)
    }


def _note_policy(db: sqlite3.Connection, target_id: int, policy: DeliveryPolicy) -> None:
    if db.execute(_HAS_POLICY).fetchone() is None:
        db.execute(POLICY_TABLE)
    text = msgspec.json.encode(policy.destinations).decode()
    db.execute(_NOTE_POLICY, (target_id, text, int(policy.drop_source)))


def _of_target(
    db: sqlite3.Connection,
    target_id: int,
    job_ids: Collection[int] | None = None,
    delivery_ids: Collection[int] | None = None,
) -> list[Delivery]:
    chosen, values = "target_id = ?", list[object]([target_id])
    for column, ids in (("job_id", job_ids), ("delivery_id", delivery_ids)):
        if ids is not None:
            numbers = ", ".join(map(str, sorted(ids))) or "NULL"
            chosen += f" AND delivery.{column} IN ({numbers})"
    return _deliveries(db, chosen=chosen, values=values)


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
