"""One owner for each real project over all runs of a database: who is refused, and who is cut off."""

from __future__ import annotations

import socket

import pytest

from batchexport.errors import LeaseLostError, StateInUseError
from batchexport.identity import SANDBOX, CloudIdentity
from batchexport.store import StateFile
from batchexport.store.postgres import projects
from batchexport.store.postgres.reference import DatabasePath
from tests.store.making import HERE, THERE, make, row
from tests.store.postgres.server import Server
from tests.store.postgres.test_seams import alter

PROJECT = CloudIdentity(
    cloud="prod",
    region="eu-1",
    project_id="a" * 32,
    project_name="backup",
    identity_url="https://identity.example",
    block_storage_url="https://volumes.example",
)


def elsewhere(server: Server, path: DatabasePath, *, lease_s: float) -> None:
    """Let the owner of a run be a process of another machine, with so much of its lease left."""
    here = f'"host":"{socket.gethostname()}"'
    alter(
        server,
        path,
        f"""UPDATE run.target SET owner = replace(owner, '{here}', '"host":"node7"'),
            lease_until = extract(epoch FROM clock_timestamp()) + {lease_s}""",
    )


async def test_a_project_has_one_owner_over_all_runs(run_path: DatabasePath, database: DatabasePath) -> None:
    first, second = database / "first", database / "second"
    for path in (first, second):
        make(path, 1)
    async with StateFile.open(first) as one, StateFile.open(second) as two:
        mine, theirs = await one.take(1), await two.take(1)
        await mine.bind(PROJECT)
        with pytest.raises(StateInUseError, match="backup is being worked on for run first by process"):
            await theirs.bind(PROJECT)
        await mine.bind(PROJECT)  # it may sign in as often as it likes
        await mine.release()
        await theirs.bind(PROJECT)
        again = await one.take(1)
        with pytest.raises(StateInUseError, match="for run second"):
            await again.bind(PROJECT)


@pytest.mark.parametrize(
    "other",
    [
        CloudIdentity(region="eu-2", project_id="a" * 32, identity_url="https://identity.example"),
        CloudIdentity(
            region="eu-1",
            project_id="a" * 32,
            identity_url="https://identity.copy",
            block_storage_url="https://volumes.copy",
        ),
        CloudIdentity(region="eu-1", project_id="b" * 32, identity_url="https://identity.example"),
        CloudIdentity(region="eu-1", project_id=None, identity_url="https://identity.example"),
        SANDBOX,
    ],
    ids=["region", "copy of the cloud", "project", "none told", "sandbox in a command"],
)
async def test_other_projects_have_owners_of_their_own(database: DatabasePath, other: CloudIdentity) -> None:
    for name in ("first", "second"):
        make(database / name, 1)
    async with StateFile.open(database / "first") as one, StateFile.open(database / "second") as two:
        await (await one.take(1)).bind(PROJECT)
        await (await two.take(1)).bind(other)


@pytest.mark.parametrize("cure", [True, False])
async def test_who_was_not_heard_of_cannot_renew_a_project_that_another_run_has(
    database: DatabasePath, postgres: Server, monkeypatch: pytest.MonkeyPatch, cure: bool
) -> None:
    if not cure:
        monkeypatch.setattr(projects, "_END_HOLD", "UPDATE target SET epoch = epoch WHERE target_id = ?")
    first, second = database / "first", database / "second"
    for path in (first, second):
        make(path, 1)
    async with StateFile.open(first) as one, StateFile.open(second) as two:
        frozen, next_owner = await one.take(1), await two.take(1)
        await frozen.bind(PROJECT)
        elsewhere(postgres, first, lease_s=20)
        with pytest.raises(StateInUseError, match="on node7"):
            await next_owner.bind(PROJECT)
        elsewhere(postgres, first, lease_s=-0.5)
        await next_owner.bind(PROJECT)
        if cure:
            with pytest.raises(LeaseLostError):
                await frozen.renew()
            assert alter(postgres, first, "SELECT was_lost FROM run.session") == [(1,)]
        else:
            await frozen.renew()  # both are at work on it


async def test_two_names_for_one_project_in_a_list_are_one_owner(database: DatabasePath) -> None:
    both, other = database / "both", database / "other"
    make(both, [row(1, target=HERE), row(2, target=THERE)])
    make(other, 1)
    async with StateFile.open(both) as one, StateFile.open(other) as two:
        here, there, theirs = await one.take(1), await one.take(2), await two.take(1)
        await here.bind(PROJECT)
        await there.bind(PROJECT)
        await here.release()
        with pytest.raises(StateInUseError, match="for run both"):
            await theirs.bind(PROJECT)
        await there.release()
        await theirs.bind(PROJECT)


async def test_a_run_that_was_dropped_holds_no_project(database: DatabasePath, postgres: Server) -> None:
    for name in ("gone", "here"):
        make(database / name, 1)
    async with StateFile.open(database / "gone") as one:
        await (await one.take(1)).bind(PROJECT)
    postgres.sql("SELECT batchexport.drop_run('gone')", database=database.name)
    async with StateFile.open(database / "here") as two:
        await (await two.take(1)).bind(PROJECT)
