from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from batchexport.errors import StateCorruptError, StateError, StateWriteError
from batchexport.store import StateFile
from batchexport.store.sqlite.connection import open_for_work
from batchexport.store.sqlite.transactions import SqliteTransactions
from batchexport.store.sqlite.writer import MOST_OPERATIONS, Writer
from tests.store.making import accept, ask, claim, make, until


def set_rate(rate: float) -> Callable[[sqlite3.Connection], object]:
    return lambda db: db.execute("UPDATE target SET requests_per_second = ?", (rate,))


async def test_what_was_asked_is_answered_after_its_commit(made: Path) -> None:
    writer = Writer(SqliteTransactions(open_for_work(made), made), made, write_grace_s=1.0)
    await writer.ask(set_rate(3.0))
    assert ask(made, "SELECT requests_per_second FROM target") == [(3.0,)]
    writer.close()


async def test_changes_that_nobody_awaits_are_written_without_being_asked_for(made: Path) -> None:
    writer = Writer(SqliteTransactions(open_for_work(made), made), made, write_grace_s=1.0)
    writer.submit(set_rate(4.0))
    until(lambda: writer.backlog == 0)
    assert ask(made, "SELECT requests_per_second FROM target") == [(4.0,)]
    writer.close()


async def test_many_changes_share_few_commits(made: Path) -> None:
    db = open_for_work(made)
    commits: list[str] = []
    db.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    writer = Writer(SqliteTransactions(db, made), made, write_grace_s=1.0)
    for number in range(4 * MOST_OPERATIONS):
        writer.submit(set_rate(float(number)))
    await writer.drain()
    assert 4 <= len(commits) <= 100
    writer.close()
    assert ask(made, "SELECT requests_per_second FROM target") == [(4.0 * MOST_OPERATIONS - 1,)]


async def test_a_wake_up_that_a_signal_broke_off_costs_no_later_one(made: Path) -> None:
    """A signal handler that raised within `notify` left a waiter behind: the next wake-up was lost on it."""
    writer = Writer(SqliteTransactions(open_for_work(made), made), made, write_grace_s=1.0)
    waiters = vars(writer._changed)["_waiters"]
    until(lambda: bool(waiters))
    gone = threading.Lock()
    gone.acquire()
    waiters.appendleft(gone)
    asked = writer.ask(set_rate(3.0))
    await asyncio.wait_for(asked, 20.0)
    writer.close()


async def test_closing_writes_what_is_queued(made: Path) -> None:
    writer = Writer(SqliteTransactions(open_for_work(made), made), made, write_grace_s=1.0)
    writer.submit(set_rate(5.0))
    writer.close()
    assert ask(made, "SELECT requests_per_second FROM target") == [(5.0,)]


async def test_a_closed_file_takes_nothing_more(made: Path) -> None:
    state = StateFile.open(made)
    await state.close()
    with pytest.raises(StateError, match="closed already"):
        await state.flush()


async def test_a_lock_of_another_process_is_waited_for(made: Path) -> None:
    db = open_for_work(made)
    db.execute("PRAGMA busy_timeout=1")
    writer = Writer(SqliteTransactions(db, made), made, write_grace_s=60.0)
    other = sqlite3.connect(made, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = writer.ask(set_rate(6.0))
    done, _ = await asyncio.wait([answer], timeout=0.05)
    assert not done
    other.execute("ROLLBACK")
    other.close()
    await answer
    writer.close()
    assert ask(made, "SELECT requests_per_second FROM target") == [(6.0,)]


async def test_a_lock_that_is_never_given_up_is_a_write_error(made: Path) -> None:
    db = open_for_work(made)
    db.execute("PRAGMA busy_timeout=1")
    writer = Writer(SqliteTransactions(db, made), made, write_grace_s=0.01)
    other = sqlite3.connect(made, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateWriteError, match="locked"):
        await writer.ask(set_rate(7.0))
    other.close()
    writer.close()


async def test_damage_met_on_the_way_ends_every_call(path: Path) -> None:
    make(path, 20_000)
    state = StateFile.open(path)
    work = await state.take(1)
    with path.open("r+b") as file:
        file.seek(16 * 4096)
        file.write(b"\xff" * 200 * 4096)
    with pytest.raises(StateCorruptError, match="malformed"):
        while jobs := await claim(work, 500):
            for job in jobs:
                accept(work, job)
    with pytest.raises(StateCorruptError):
        await state.flush()
    with pytest.raises(StateCorruptError):
        await state.close()


async def test_an_operation_that_breaks_a_rule_of_the_tables_ends_the_writer(made: Path) -> None:
    writer = Writer(SqliteTransactions(open_for_work(made), made), made, write_grace_s=60.0)
    with pytest.raises(StateError, match="CHECK constraint failed"):
        await writer.ask(lambda db: db.execute("UPDATE job SET state = 'lost'"))
    writer.close()


async def test_whoever_waits_hears_of_a_fault_in_the_writer(made: Path) -> None:
    writer = Writer(SqliteTransactions(open_for_work(made), made), made, write_grace_s=60.0)
    with pytest.raises(StateError, match="the writer stopped: ZeroDivisionError"):
        await writer.ask(lambda db: 1 // 0)
    with pytest.raises(StateError, match="the writer stopped"):
        writer.submit(set_rate(8.0))
    writer.close()


def test_an_answer_for_a_loop_that_is_gone_is_dropped(made: Path) -> None:
    db = open_for_work(made)
    writer = Writer(SqliteTransactions(db, made), made, write_grace_s=60.0)
    other = sqlite3.connect(made, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def leave() -> None:
        writer.ask(set_rate(9.0))

    asyncio.run(leave())
    other.execute("ROLLBACK")
    other.close()
    writer.close()
    assert ask(made, "SELECT requests_per_second FROM target") == [(9.0,)]
