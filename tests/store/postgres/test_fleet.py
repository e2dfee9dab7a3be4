"""What workers share through a database: submitted runs, who is there, and news."""

from __future__ import annotations

import asyncio
import select

import pytest

from batchexport.errors import ConfigError, StateError, StateInUseError, StateVersionError
from batchexport.identity import CloudIdentity
from batchexport.model import JobState, TargetKey
from batchexport.store import StateFile
from batchexport.store.fleet import Standing, SubmittedRun
from batchexport.store.postgres import admin, fleet
from batchexport.store.postgres.connection import VERSION
from batchexport.store.postgres.fleet import Membership
from batchexport.store.postgres.reference import DatabasePath, database_path
from tests.store.making import HERE, THERE, make, row
from tests.store.postgres.server import Server
from tests.store.postgres.test_seams import alter

PROJECT = CloudIdentity(cloud="prod", project_id="a" * 32, project_name="backup")


def submitted(path: DatabasePath) -> SubmittedRun:
    return next(run for run in fleet.submitted_runs(path) if run.run_name == path.run_name)


def end_connections(server: Server, database: DatabasePath) -> None:
    server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = '{database.name}' AND pid <> pg_backend_pid()"
    )


async def test_a_submitted_run_tells_who_holds_what_and_what_is_left(database: DatabasePath) -> None:
    run = database / "march"
    make(run, [row(1, target=HERE), row(2, target=THERE), row(3, target=THERE)])
    assert fleet.submitted_runs(run) == []
    assert not fleet.is_submitted(run)
    fleet.submit(run, "{}")
    assert fleet.is_submitted(run)
    async with StateFile.open(run) as store:
        work = await store.take(2, ttl_s=20)
        await work.bind(PROJECT)
        await work.claim(1, now_s=0.0, server_now_s=0.0)
        found = submitted(run)
    assert (found.plan, found.standing, found.note, found.to_do) == ("{}", Standing.RUNNING, None, 3)
    here, there = found.targets
    assert (here.key, here.owner, here.under_way, here.to_do) == (HERE, None, 0, 1)
    assert (there.key, there.identity, there.under_way, there.to_do) == (THERE, PROJECT, 1, 2)
    assert there.owner is not None
    assert 10 < there.lease_left_s <= 20
    assert there.jobs == {JobState.PENDING: 1, JobState.SUBMITTING: 1}


async def test_a_run_is_paused_continued_and_ended(database: DatabasePath, postgres: Server) -> None:
    run = database / "march"
    make(run, 2)
    for change in (fleet.pause, fleet.resume, fleet.end):
        with pytest.raises(ConfigError, match="not submitted"):
            change(run)
    fleet.submit(run, "{}")
    assert fleet.pause(run, note="too many failed")
    assert not fleet.pause(run)
    assert (submitted(run).standing, submitted(run).note) == (Standing.PAUSED, "too many failed")
    alter(postgres, run, "UPDATE run.tally SET jobs = 1 WHERE state = 'failed'")
    assert submitted(run).failed == 1
    assert fleet.resume(run)
    assert not fleet.resume(run)
    assert (submitted(run).failed, submitted(run).note) == (0, None)
    assert fleet.end(run)
    assert not fleet.pause(run)
    assert fleet.submitted_runs(database, with_ended=False) == []
    fleet.submit(run, "{}")
    assert submitted(run).standing is Standing.RUNNING


def test_a_run_that_is_not_there_cannot_be_submitted(database: DatabasePath) -> None:
    with pytest.raises(StateError, match="no such run"):
        fleet.submit(database / "nowhere", "{}")


def test_a_worker_joins_is_seen_and_leaves(database: DatabasePath, postgres: Server) -> None:
    member = Membership(database, worker_name="w1", slots=3)
    member.join(["prod", "dev"])
    (seen,) = fleet.workers(database)
    assert (seen.worker_name, seen.slots, seen.clouds) == ("w1", 3, ("dev", "prod"))
    assert 0 < seen.lease_left_s <= 25
    member.join([])  # the same process, as after a restart
    postgres.sql("UPDATE batchexport.worker SET pid = 1", database=database.name)
    with pytest.raises(StateInUseError, match="w1 is there already"):
        member.join([])
    postgres.sql("UPDATE batchexport.worker SET lease_until = 0", database=database.name)
    member.join([])
    member.leave()
    assert fleet.workers(database) == []


def test_a_look_renews_and_tells_of_runs_and_of_draining(database: DatabasePath, postgres: Server) -> None:
    run = database / "march"
    make(run, 1)
    fleet.submit(run, "{}")
    member = Membership(database, worker_name="w1", slots=3)
    member.join([])
    postgres.sql("UPDATE batchexport.worker SET lease_until = 0, seen_at = 0", database=database.name)
    is_draining, runs = member.look(["prod"], "no sign-in")
    assert (is_draining, [each.run_name for each in runs]) == (False, ["march"])
    (seen,) = fleet.workers(database)
    assert (seen.lease_left_s > 0, seen.clouds, seen.note) == (True, ("prod",), "no sign-in")
    assert fleet.drain(database, worker_name="other", host=None) == []
    assert fleet.drain(database, worker_name="w1", host=None) == ["w1"]
    assert fleet.drain(database, worker_name=None, host=seen.host) == ["w1"]
    assert member.look([])[0]
    postgres.sql("DELETE FROM batchexport.worker", database=database.name)
    assert member.look([])[0] is False  # it was forgotten, and is there again
    assert [each.worker_name for each in fleet.workers(database)] == ["w1"]
    end_connections(postgres, database)
    assert member.look([])[0] is False
    member.leave()


def test_a_look_at_a_server_that_is_away_is_our_error(postgres: Server) -> None:
    server = Server()
    try:
        database = server.new_database("exports")
        member = Membership(database, worker_name="w1", slots=3)
        member.join([])
        assert member.listen() is not None
        server.crash()
        with pytest.raises(StateError, match="cannot look for work"):
            member.look([])
        assert member.listen() is None
        assert member.has_news() is None
        member.leave()
    finally:
        server.stop()


async def test_news_of_a_submission_a_release_and_a_pause_are_heard(
    database: DatabasePath, postgres: Server
) -> None:
    run = database / "march"
    make(run, 1)
    member = Membership(database, worker_name="w1", slots=3)

    def is_heard() -> bool | None:
        assert descriptor is not None
        ready, _, _ = select.select([descriptor], [], [], 10)
        assert ready
        return member.has_news()

    async def hand_back() -> None:
        async with StateFile.open(run) as store:
            await (await store.take(1)).release()

    descriptor = member.listen()
    assert member.has_news() is False
    fleet.submit(run, "{}")
    assert is_heard()
    fleet.pause(run)
    assert is_heard()
    await hand_back()
    assert await asyncio.to_thread(is_heard)
    end_connections(postgres, database)
    while is_heard() is not None:  # first the server says why
        pass
    member.leave()


def test_a_database_of_the_format_before_is_upgraded_and_serves_workers(postgres: Server) -> None:
    database = postgres.new_database("older")
    for statement in (
        "DROP TABLE batchexport.worker, batchexport.project",
        "ALTER TABLE batchexport.run DROP COLUMN plan, DROP COLUMN standing, DROP COLUMN note,"
        " DROP COLUMN failed_before",
        "UPDATE batchexport.version SET version = 1",
    ):
        postgres.sql(statement, database="older")
    with pytest.raises(StateVersionError, match="format 1"):
        fleet.workers(database)
    assert admin.upgrade(database) == (1, VERSION)
    make(database / "march", 1)
    fleet.submit(database / "march", "{}")
    assert postgres.sql("SELECT min(oldest_program) FROM batchexport.version", database="older") == [(1,)]


async def test_a_worker_needs_no_more_than_its_role_and_a_reader_may_look(
    database: DatabasePath, postgres: Server
) -> None:
    for user, role in (("wanda", "batchexport_worker"), ("rita", "batchexport_reader")):
        if not postgres.sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{user}'"):
            postgres.sql(f"CREATE ROLE {user} LOGIN IN ROLE {role}")
    as_worker, as_reader = (
        database_path(str(database).replace("admin@", f"{user}@")) for user in ("wanda", "rita")
    )
    make(as_worker / "march", 1)
    fleet.submit(as_worker / "march", "{}")
    member = Membership(as_worker, worker_name="w1", slots=3)
    member.join([])
    async with StateFile.open(as_worker / "march") as store:
        await (await store.take(1)).bind(PROJECT)
        assert [each.worker_name for each in fleet.workers(as_reader)] == ["w1"]
        assert fleet.submitted_runs(as_reader)[0].targets[0].owner is not None
    with pytest.raises(StateError, match="permission denied"):
        fleet.pause(as_reader / "march")
    member.leave()


async def test_a_database_without_an_encoding_holds_names_all_the_same(postgres: Server) -> None:
    postgres.sql("CREATE DATABASE plain ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    database = database_path(f"postgresql://admin@127.0.0.1:{postgres.port}/plain")
    assert admin.initialise(database)
    run = database / "march"
    make(run, [row(1, target=TargetKey("größe", None, None))])
    fleet.submit(run, "{}")
    async with StateFile.open(run) as store:
        assert store.targets[0].key.cloud == "größe"
        await (await store.take(1)).bind(PROJECT)
    assert fleet.submitted_runs(database)[0].targets[0].key.cloud == "größe"
    assert any("SQL_ASCII" in each.words for each in admin.check(database))


def test_a_database_of_a_narrow_encoding_is_warned_of(postgres: Server) -> None:
    postgres.sql("CREATE DATABASE narrow ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    database = database_path(f"postgresql://admin@127.0.0.1:{postgres.port}/narrow")
    assert admin.initialise(database)
    assert any("LATIN1" in each.words and each.is_warning for each in admin.check(database))
