"""Holding a target: one process at a time, proved by an epoch that only grows; and when that was.

Every transaction compares the epoch, so that whoever was overtaken can write nothing more. The local
deadline does the same for what leaves this process by another way: it runs out before anyone else may take
the target, even if this process was frozen meanwhile.

A line of `session` tells of each time that a target was taken. That table, like others that tell people of
the past, is made when it is first needed: a file without one is of no older format, it had nothing to note.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

from batchexport.errors import LeaseLostError, StateCorruptError, StateError, StateInUseError
from batchexport.store.owner import Owner, is_alive, why_not
from batchexport.store.reports import ProcessEnd, WorkPeriod
from batchexport.store.sqlite import log_mark
from batchexport.store.sqlite.connection import close_for_good, open_for_work
from batchexport.store.sqlite.history import Ask
from batchexport.store.sqlite.locks import Held
from batchexport.store.sqlite.sqlite_errors import writing
from batchexport.store.sqlite.values import moment

SESSION_TABLE = """
    CREATE TABLE IF NOT EXISTS session (
        session_id INTEGER PRIMARY KEY,
        target_id INTEGER NOT NULL REFERENCES target,
        began_at REAL NOT NULL,
        ended_at REAL,
        was_lost INTEGER NOT NULL DEFAULT 0
    ) STRICT"""
_BEGIN_SESSION = "INSERT INTO session (target_id, began_at) VALUES (?, ?)"
_END_SESSION = "UPDATE session SET ended_at = ?, was_lost = ? WHERE target_id = ? AND ended_at IS NULL"
_HAS_SESSIONS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'session'"
_SESSIONS = "SELECT target_id, began_at, ended_at, was_lost FROM session ORDER BY began_at, session_id"


def begin_session(db: sqlite3.Connection, target_id: int, *, at: float) -> None:
    """Note that the target was taken."""
    db.execute(SESSION_TABLE)
    db.execute(_BEGIN_SESSION, (target_id, at))


def lose_session(db: sqlite3.Connection, target_id: int, *, last_seen_at: float) -> None:
    """Note the last sign of an owner who never left the target."""
    db.execute(SESSION_TABLE)
    db.execute(_END_SESSION, (last_seen_at, 1, target_id))


def end_session(db: sqlite3.Connection, target_id: int, *, at: float) -> None:
    """Note that the target was left."""
    db.execute(SESSION_TABLE)
    db.execute(_END_SESSION, (at, 0, target_id))


def work_periods(ask: Ask) -> list[WorkPeriod]:
    """All that was noted, in the order in which they began, asked through `ask`."""
    if not ask(_HAS_SESSIONS):
        return []
    return [
        WorkPeriod(target_id=row[0], began_at=row[1], ended_at=row[2], was_lost=bool(row[3]))
        for row in ask(_SESSIONS)
    ]


#: A lease counts as run out so much earlier here than for others: clocks differ, requests take time.
MARGIN_S = 5.0


class Lease:
    """The right to work on one target, until it runs out or is lost."""

    __slots__ = ("_clock", "_deadline_s", "_lost", "epoch", "target_id", "ttl_s")

    def __init__(
        self, *, target_id: int, epoch: int, ttl_s: float, asked_at_s: float, clock: Callable[[], float]
    ) -> None:
        self.target_id = target_id
        self.epoch = epoch
        self.ttl_s = ttl_s
        self._clock = clock
        self._lost: str | None = None
        self.extend(asked_at_s)

    def extend(self, asked_at_s: float) -> None:
        """Start the time anew, from the moment before the state file was asked."""
        self._deadline_s = asked_at_s + self.ttl_s - MARGIN_S

    def lose(self, why: str) -> None:
        """Let nothing more through."""
        self._lost = why

    def check_owned(self) -> None:
        """Nothing while the target is not known to be another's; its time may have run out all the same."""
        if self._lost is not None:
            raise LeaseLostError(
                f"target {self.target_id}: {self._lost}", hint="see who works on it with `batchexport status`"
            )

    @property
    def fresh(self) -> bool:
        """Whether nobody else can have taken the target yet. Not fresh is not lost: renewing tells which."""
        return self._clock() < self._deadline_s


def take(
    db: sqlite3.Connection,
    target_id: int,
    *,
    me: Owner,
    now: float,
    ttl_s: float,
    held: Held = Held.ALONE,
    is_work: bool = True,
) -> int:
    """The new epoch of the target, now `me`'s. Raises StateInUseError while another owner may be at work.

    `held` is what locking the file has shown.
    """
    row = db.execute("SELECT owner, lease_until FROM target WHERE target_id = ?", (target_id,)).fetchone()
    if row is None:
        raise StateError(f"the state file has no target {target_id}")
    owner = owner_from(row[0])
    if owner is None and held is Held.BESIDE:
        raise StateInUseError(
            "another process works on a state file of this name, which was removed or replaced under it, or"
            " is about to end",
            hint="wait for it to end, or stop it, then run the same command again",
        )
    if owner is not None:
        # It would hold the file still: locks end with their process, whatever namespace that was in.
        has_left = held is Held.ALONE and owner.locks_file and owner.boot_id == me.boot_id
        alive = is_alive(owner, here=me)
        if has_left and alive and is_copy(owner, me):
            raise StateInUseError(
                f"this is a copy of a state file that {owner}, works on: together they would make two images",
                hint=f"wait for it to end, or stop it (kill -TERM {owner.pid}); then use only one of the"
                " two files",
            )
        alive = False if has_left else alive
        if (refusal := why_not(owner, lease_until=row[1], now=now, alive=alive)) is not None:
            raise refusal
    (epoch,) = db.execute(
        "UPDATE target SET epoch = epoch + 1, owner = ?, lease_until = ? WHERE target_id = ? RETURNING epoch",
        (msgspec.json.encode(me).decode(), now + ttl_s, target_id),
    ).fetchone()
    # An owner who left would have said so: this one was last seen when it renewed its lease.
    if owner is not None:
        lose_session(db, target_id, last_seen_at=row[1] - ttl_s)
    if is_work:
        begin_session(db, target_id, at=now)
    return int(epoch)


def is_copy(owner: Owner, me: Owner) -> bool:
    """Whether the file that I have locked names an owner, another process, who locks another file."""
    if owner.file is None or me.file is None or owner.file == me.file:
        return False
    return (owner.pid, owner.started) != (me.pid, me.started)


def renew(db: sqlite3.Connection, target_id: int, *, now: float, ttl_s: float) -> None:
    """Put off the end of the lease; that it is still ours was checked by the transaction."""
    db.execute("UPDATE target SET lease_until = ? WHERE target_id = ?", (now + ttl_s, target_id))


def release(db: sqlite3.Connection, target_id: int, *, now: float) -> None:
    """Leave the target to whoever comes next."""
    end_session(db, target_id, at=now)
    db.execute("UPDATE target SET owner = NULL, lease_until = 0 WHERE target_id = ?", (target_id,))
    if db.execute("SELECT 1 FROM target WHERE owner IS NOT NULL").fetchone() is None:
        log_mark.clear(db)


def owner_from(text: str | None) -> Owner | None:
    """The owner that a target's row names, or None for a free one."""
    if text is None:
        return None
    try:
        owner = msgspec.json.decode(text, type=Owner)
        moment(owner.since)
    except (msgspec.DecodeError, ValueError) as error:
        raise StateCorruptError(f"the owner {text!r} in the state file cannot be read: {error}") from error
    return owner


END_TABLE = """
    CREATE TABLE IF NOT EXISTS process_end (
        end_id INTEGER PRIMARY KEY,
        began_at REAL NOT NULL,
        ended_at REAL NOT NULL,
        exit_code INTEGER NOT NULL,
        error TEXT,
        host TEXT,
        job TEXT
    ) STRICT"""
_HAS_ENDS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'process_end'"
ADD_END = (
    "INSERT INTO process_end (began_at, ended_at, exit_code, error, host, job) VALUES (?, ?, ?, ?, ?, ?)"
)
_LAST_END = (
    "SELECT began_at, ended_at, exit_code, error, host, job FROM process_end ORDER BY end_id DESC LIMIT 1"
)


def note_end(path: Path, end: ProcessEnd) -> None:
    """Note how a process ended. Raises StateError where the file cannot be written."""
    db = open_for_work(path)
    try:
        with writing(path):
            db.execute(END_TABLE)
            db.execute(ADD_END, msgspec.structs.astuple(end))
    finally:
        close_for_good(db)


def last_end(ask: Ask) -> ProcessEnd | None:
    """How the last process ended that said so; None where none did."""
    if not ask(_HAS_ENDS) or not (rows := ask(_LAST_END)):
        return None
    began_at, ended_at, exit_code, error, host, job = rows[0]
    return ProcessEnd(
        began_at=moment(began_at) or 0.0,
        ended_at=moment(ended_at) or 0.0,
        exit_code=exit_code,
        error=error,
        host=host,
        job=job,
    )
