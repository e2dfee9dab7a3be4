"""Where a database differs from a file although every functional test passes: each trap, and its cure.

Tests that have a parameter `cure` fail to hold without it, which is shown, too: they would see the trap.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from batchexport.changes import Ended, Snoozed
from batchexport.engine.decide import may_have_been_sent
from batchexport.errors import LeaseLostError, StateError
from batchexport.model import Ending, JobState
from batchexport.store import StateFile
from batchexport.store.postgres import connection, schema, sql
from batchexport.store.postgres.reference import DatabasePath, database_path
from batchexport.store.postgres.transactions import PostgresTransactions
from batchexport.store.sqlite import changes, claims
from batchexport.store.sqlite.transactions import SqliteTransactions
from tests.store.making import DONE, HERE, THERE, accept, claim, make, row, states
from tests.store.postgres.line import Line
from tests.store.postgres.server import Server


def in_thread(target: Callable[[], Any]) -> Future[Any]:
    """What a function gives that waits in a thread of its own."""
    done: Future[Any] = Future()

    def work() -> None:
        try:
            done.set_result(target())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return done


async def take_over(path: DatabasePath, target_id: int = 1) -> int:
    async with StateFile.open(path) as store:
        work = await store.take(target_id)
        await work.release()
        return work.epoch


def schema_of(server: Server, path: DatabasePath) -> str:
    name = path.parent.name
    query = f"SELECT schema_name FROM batchexport.run WHERE run_name = '{path.run_name}'"
    return str(server.sql(query, database=name)[0][0])


def alter(server: Server, path: DatabasePath, statement: str) -> list[tuple[Any, ...]]:
    """Change the run past the code under test."""
    place = schema_of(server, path)
    return server.sql(statement.replace("run.", f"{place}."), database=path.parent.name)


def is_waiting_for_a_lock(server: Server, path: DatabasePath) -> bool:
    query = f"""SELECT 1 FROM pg_stat_activity WHERE datname = '{path.parent.name}'
        AND wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%'"""
    return bool(server.sql(query))


@pytest.mark.parametrize("cure", [True, False])
async def test_nobody_takes_a_target_between_the_fence_and_the_write(
    run_path: DatabasePath, postgres: Server, monkeypatch: pytest.MonkeyPatch, cure: bool
) -> None:
    if not cure:
        monkeypatch.setattr(PostgresTransactions, "fence", SqliteTransactions.fence)
    make(run_path, 3)
    async with StateFile.open(run_path) as store:
        work = await store.take(1)
        alter(postgres, run_path, "UPDATE run.target SET lease_until = 1")
        taken: list[Future[int]] = []

        def slow(db: sqlite3.Connection, target_id: int) -> bool:
            """Between the fence and its write another worker takes the target, or waits."""
            taken.append(in_thread(lambda: asyncio.run(take_over(run_path))))
            deadline = time.monotonic() + 20
            while not (taken[0].done() or is_waiting_for_a_lock(postgres, run_path)):
                assert time.monotonic() < deadline
            db.execute("UPDATE job SET line = 99 WHERE job_id = 1")
            return taken[0].done()

        was_taken_meanwhile = await work._writer.ask(slow)
        assert was_taken_meanwhile is not cure
        assert await asyncio.to_thread(taken[0].result, 20) == work.epoch + 1
        with pytest.raises(LeaseLostError):
            await claim(work)


@pytest.fixture
def line(postgres: Server) -> Iterator[Line]:
    with Line(postgres.port) as opened:
        yield opened


@pytest.fixture
def over_the_line(run_path: DatabasePath, line: Line) -> DatabasePath:
    """The same run, over a line that can be cut."""
    return database_path(f"postgresql://admin@127.0.0.1:{line.port}/{run_path.parent.name}/{run_path.name}")


@pytest.mark.parametrize("what", ["answer", "request"])
async def test_a_lost_commit_is_settled_and_not_repeated(
    run_path: DatabasePath, over_the_line: DatabasePath, line: Line, what: str
) -> None:
    make(run_path, 6)
    async with StateFile.open(over_the_line) as store:
        work = await store.take(1)
        line.lose_commit(what)
        assert [job.job_id for job in await claim(work, 2)] == [1, 2]
        assert line.losses == 1
        line.lose_commit(what)
        jobs = await claim(work, 1)
        assert [job.job_id for job in jobs] == [3]
        line.lose_commit(what)
        accept(work, jobs[0])
        await work.flush()
        assert line.losses == 3
        await work.release()
    assert [str(state) for state in states(run_path)] == [
        *("submitting", "submitting", "exporting", "pending", "pending", "pending")
    ]


async def test_without_the_stamp_a_repeated_batch_leaves_rows_that_nobody_owns(
    run_path: DatabasePath, over_the_line: DatabasePath, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresTransactions, "has_committed", lambda self: False)
    monkeypatch.setattr(PostgresTransactions, "_went_back", lambda self: psycopg.OperationalError("again"))
    make(run_path, 6)
    store = StateFile.open(over_the_line, write_grace_s=0.2)
    work = await store.take(1)
    line.lose_commit("answer")
    with pytest.raises(StateError):
        await claim(work, 2)
    assert [str(state) for state in states(run_path)][:2] == ["submitting"] * 2
    with pytest.raises(StateError):
        await store.close()


async def test_a_line_that_is_cut_for_a_while_stops_nothing(
    run_path: DatabasePath, over_the_line: DatabasePath, line: Line
) -> None:
    make(run_path, 3)
    async with StateFile.open(over_the_line) as store:
        work = await store.take(1)
        line.cut()
        claiming = asyncio.ensure_future(claim(work, 3))
        await asyncio.sleep(0)
        line.mend()
        assert len(await claiming) == 3
        await work.release()


async def test_a_connection_that_is_lost_inside_a_transaction_takes_all_of_it_along(
    run_path: DatabasePath, over_the_line: DatabasePath, line: Line
) -> None:
    make(run_path, 3)
    tries: list[int] = []

    def half(db: sqlite3.Connection, target_id: int) -> None:
        tries.append(1)
        db.execute("UPDATE job SET line = line + 100 WHERE job_id = 1")
        if len(tries) == 1:
            line.cut()
            line.mend()
        db.executemany("UPDATE job SET line = line + 100 WHERE job_id = ?", [(2,), (3,)])

    async with StateFile.open(over_the_line) as store:
        work = await store.take(1)
        await work._writer.ask(half)
        await work.release()
    assert len(tries) == 2
    with connection.catalogue(run_path, doing="look") as db:
        place = db.execute(
            "SELECT max(schema_name) FROM batchexport.run WHERE run_name = %s", (run_path.name,)
        )
        lines = db.execute(f"SELECT line FROM {place.fetchall()[0][0]}.job ORDER BY job_id").fetchall()
    assert lines == [(102,), (103,), (104,)]


async def test_a_database_that_went_back_stops_whoever_works(
    run_path: DatabasePath, postgres: Server
) -> None:
    make(run_path, 6)
    store = StateFile.open(run_path)
    work = await store.take(1)
    await claim(work, 1)
    await claim(work, 1)
    alter(postgres, run_path, "UPDATE run.stamp SET batches = batches - 2")
    with pytest.raises(StateError, match="lost changes that it had acknowledged"):
        await claim(work, 1)
    with pytest.raises(StateError, match="lost changes"):
        work.apply(Snoozed(job=(await work.jobs_in(JobState.SUBMITTING))[0], next_at=0.0))
    with pytest.raises(StateError):
        await store.close()


async def test_after_a_failover_nothing_is_sent_unseen(run_path: DatabasePath, postgres: Server) -> None:
    make(run_path, 3)
    assert await take_over(run_path) == 1
    alter(postgres, run_path, "UPDATE run.target SET timeline = '0000000A'")
    async with StateFile.open(run_path) as store:
        work = await store.take(1)
        jobs = await claim(work, 3)
        assert [may_have_been_sent(job) for job in jobs] == [True] * 3
        await work.release()
    assert await take_over(run_path) == 3


async def test_on_the_same_history_nothing_is_in_doubt(run_path: DatabasePath) -> None:
    make(run_path, 3)
    await take_over(run_path)
    async with StateFile.open(run_path) as store:
        work = await store.take(1)
        assert not any(map(may_have_been_sent, await claim(work, 3)))
        await work.release()


async def test_who_freezes_inside_a_transaction_is_replaced(
    run_path: DatabasePath, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [each.replace("'10s'", "'500ms'") for each in connection.FOR_WORK]
    monkeypatch.setattr(connection, "FOR_WORK", tuple(settings))
    make(run_path, 3)
    store = StateFile.open(run_path)
    work = await store.take(1)
    alter(postgres, run_path, "UPDATE run.target SET lease_until = 1")

    def frozen(db: sqlite3.Connection, target_id: int) -> None:
        db.execute("UPDATE job SET line = 99 WHERE job_id = 1")
        epoch = in_thread(lambda: asyncio.run(take_over(run_path))).result(20)
        assert epoch == work.epoch + 1

    with pytest.raises(LeaseLostError):
        await work._writer.ask(frozen)
    assert alter(postgres, run_path, "SELECT line FROM run.job WHERE job_id = 1") == [(2,)]
    await store.close()


def plan_of(db: Any, statement: str, values: Any) -> str:
    lines = db.raw.execute(f"EXPLAIN {statement}", values).fetchall()
    return "\n".join(text for (text,) in lines)


@pytest.mark.parametrize(
    "rows", [3000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(500)])]
)
async def test_jobs_are_found_by_their_numbers_whatever_the_statistics_say(
    run_path: DatabasePath, postgres: Server, rows: int
) -> None:
    make(run_path, rows)  # of which the statistics say that all are pending
    async with StateFile.open(run_path) as store:
        work = await store.take(1)
        for job in await claim(work, 500):
            accept(work, job)
        await work.release()
    db = connection.RunConnection(run_path, for_work=True)
    try:
        ids, numbers = [1] * 25, [1.0] * 25
        words: list[None] = [None] * 25
        start = sql.bulk(changes.START, changes.START_FIELDS)
        log = sql.bulk(changes.LOG[Ended, JobState.SUCCEEDED], changes.LOG_FIELDS)
        end = sql.bulk(changes.END, changes.END_FIELDS)
        plans = [
            plan_of(db, start, [ids, ids, words, words, numbers, numbers, ids, 1]),
            plan_of(db, log, [ids, ids, numbers, words, words, words, words, words, 1]),
            plan_of(db, end, [ids, ["succeeded"] * 25, numbers]),
            plan_of(db, sql.translated(claims.CLAIM), {"server_now": 1.0, "target_id": 1, "last": 500}),
        ]
        for plan in plans:
            assert "Index Scan using job_pkey" in plan, plan
            assert "Seq Scan" not in plan, plan
            assert "job_under_way" not in plan, plan
        values = {"server_now": 1.0, "now": 1.0, "target_id": 1, "limit": 25}
        indexes = {"size": "job_by_size", "list": "job_ready", "priority": "job_by_priority"}
        for order, statement in claims.CLAIM_READY.items():
            ready = plan_of(db, sql.translated(statement), values)
            assert f"using {indexes[order]}" in ready, ready
            assert "Sort" not in ready, ready
        waiting = plan_of(db, sql.translated(claims.CLAIM_WAITING), values)
        assert "using job_waiting" in waiting, waiting
        assert "Sort" not in waiting, waiting
    finally:
        db.close()


class Between:
    """A connection on which something happens just before the jobs of new operations are changed."""

    def __init__(self, db: sqlite3.Connection, meanwhile: Callable[[], object]) -> None:
        self._db, self._meanwhile = db, meanwhile

    def execute(self, statement: str, *values: Any) -> Any:
        if statement == claims.CLAIM:
            self._meanwhile()
        return self._db.execute(statement, *values)


async def test_a_claim_takes_no_row_of_another_target(run_path: DatabasePath) -> None:
    make(run_path, [row(number, target=HERE if number % 2 else THERE) for number in range(1, 9)])
    async with StateFile.open(run_path) as store, StateFile.open(run_path) as neighbour:
        work, other = await store.take(1), await neighbour.take(2)
        loop = asyncio.get_running_loop()
        theirs: list[Any] = []

        def meanwhile() -> None:
            theirs.extend(asyncio.run_coroutine_threadsafe(claim(other, 2), loop).result(20))

        def claiming(db: sqlite3.Connection, target_id: int) -> list[Any]:
            between = cast(sqlite3.Connection, Between(db, meanwhile))
            return claims.claim(between, target_id, 2, now=100.0, server_now=100.5)

        mine = await work._writer.ask(claiming)
        assert [job.job_id for job in mine] == [1, 3]
        assert [job.job_id for job in theirs] == [2, 4]
        await work.release()
        await other.release()


async def test_words_of_a_cloud_that_no_database_takes_stop_nothing(run_path: DatabasePath) -> None:
    make(run_path, 2)
    async with StateFile.open(run_path) as store:
        work = await store.take(1)
        (job,) = await claim(work)
        odd = Ending(reason="not\0hing {} %s ' \" \\", code="a\0", status=500, request_id="req-\0")
        work.apply(Ended(job=job, after=JobState.FAILED, ending=odd, at_s=103.0))
        await work.flush()
        await work.release()
    assert states(run_path)[0] is JobState.FAILED
    assert DONE.code is None


def test_every_table_that_a_state_file_makes_when_it_needs_it_is_there_from_the_beginning() -> None:
    folder = Path(changes.__file__).parent
    text = "".join(path.read_text() for path in folder.glob("*.py") if path.name != "log_mark.py")
    needed = set(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", text))
    assert "session" in needed
    made = {found for table in schema.run_tables() for found in re.findall(r"CREATE TABLE (\w+)", table)}
    assert needed <= made
