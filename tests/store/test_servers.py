"""Rows that wait for servers, and servers that are down, in the state file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from batchexport.errors import StateCorruptError
from batchexport.model import ImageOptions, InUse, JobState, Server, ServerState
from batchexport.store import Lease, LinkedRow, StateFile, StateReader, discard_untried
from tests.store.making import DONE, accept, alter, claim, make, row, volume

WEB, DB = Server(server_id="web", status="active", name="web-1"), Server(server_id="db", status="active")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "a.state", 3)


@pytest.fixture
async def opened(path: Path) -> AsyncIterator[tuple[StateFile, Lease]]:
    async with StateFile.open(path) as state:
        yield state, await state.take(1)


async def held(state: StateFile, lease: Lease) -> list[LinkedRow]:
    return await state.servers.next_held(lease, 0, limit=10)


async def hold_first(state: StateFile, lease: Lease, *server_ids: str) -> LinkedRow:
    """The first row of the list, waiting for these."""
    (first, *_) = await state.unsent_after(lease, 0, limit=1)
    state.servers.hold(lease, first.job, server_ids)
    (linked,) = await held(state, lease)
    return linked


async def take_down(state: StateFile, lease: Lease, row: LinkedRow, *found: Server) -> None:
    server_ids = [server.server_id for server in found]
    await state.servers.stopping(lease, found, at_s=10.0)
    await state.servers.down(lease, server_ids, at_s=20.0)
    await state.servers.release(lease, [row.job], at_s=50.0)


async def test_a_row_that_waits_is_claimed_by_nobody(opened: tuple[StateFile, Lease]) -> None:
    state, lease = opened
    linked = await hold_first(state, lease, "web", "db")
    assert (linked.job.job_id, linked.held, linked.server_ids) == (1, True, ("db", "web"))
    jobs = await claim(state, lease, 10, now_s=9e12)
    assert [job.job_id for job in jobs] == [2, 3]
    assert await state.next_due_s(lease) == float("inf")


async def test_a_row_that_is_released_goes_before_those_that_never_waited(
    opened: tuple[StateFile, Lease],
) -> None:
    state, lease = opened
    (_, _, last) = await state.unsent_after(lease, 0, limit=3)
    state.servers.hold(lease, last.job, ["web"])
    await state.servers.release(lease, [last.job], at_s=50.0)
    (job,) = await claim(state, lease)
    assert job.job_id == 3


async def test_rows_are_found_by_any_of_their_servers(opened: tuple[StateFile, Lease]) -> None:
    state, lease = opened
    await hold_first(state, lease, "web", "db")
    assert [each.job.job_id for each in await state.servers.rows_of(lease, ["db"])] == [1]
    assert await state.servers.rows_of(lease, ["other"]) == []


async def test_no_server_is_started_while_its_volume_may_be_copied(
    opened: tuple[StateFile, Lease],
) -> None:
    state, lease = opened
    await take_down(state, lease, await hold_first(state, lease, "web"), WEB)
    (job,) = await claim(state, lease)
    assert await state.servers.start(lease, ["web"]) == frozenset()
    accept(state, lease, job)
    assert await state.servers.start(lease, ["web"]) == frozenset()
    taken = replace(job, image_id="ffffffff-0000-4000-8000-000000000001")
    state.ended(lease, taken, JobState.SUCCEEDED, DONE, at_s=103.0)
    assert await state.servers.start(lease, ["web"]) == {"web"}


async def test_starting_a_server_holds_what_is_pending_of_it(opened: tuple[StateFile, Lease]) -> None:
    state, lease = opened
    await take_down(state, lease, await hold_first(state, lease, "web"), WEB)
    assert await held(state, lease) == []
    assert await state.servers.start(lease, ["web"]) == {"web"}
    assert [each.job.job_id for each in await held(state, lease)] == [1]


async def test_a_file_tells_what_is_not_up_since_when_and_for_what(
    opened: tuple[StateFile, Lease], path: Path
) -> None:
    state, lease = opened
    await take_down(state, lease, await hold_first(state, lease, "web", "db"), WEB, DB)
    await state.servers.start(lease, ["db"])
    await state.servers.note(lease, "db", "does not start: no valid host")
    assert await state.servers.count_afoot() == 2
    with StateReader(path) as reader:
        db, web = reader.servers()
    assert (web.name, web.state, web.stopping_at, web.down_at) == ("web-1", ServerState.DOWN, 10.0, 20.0)
    assert (db.state, db.note, db.volume_ids) == (
        ServerState.STARTING,
        "does not start: no valid host",
        (volume(1),),
    )
    await state.servers.up(lease, ["web", "db"], at_s=60.0)
    assert await state.servers.count_afoot() == 0


@pytest.mark.parametrize("outcome", [JobState.FAILED, JobState.AMBIGUOUS])
async def test_a_row_that_is_tried_again_waits_for_its_servers_again(
    opened: tuple[StateFile, Lease], outcome: JobState
) -> None:
    state, lease = opened
    await take_down(state, lease, await hold_first(state, lease, "web"), WEB)
    (job,) = await claim(state, lease)
    state.ended(lease, job, outcome, DONE, at_s=103.0)
    if outcome is JobState.FAILED:
        await state.retry(lease)
    else:
        state.reopen(lease, job)
    assert [each.job.job_id for each in await held(state, lease)] == [1]


async def test_a_row_that_was_tried_can_end_while_it_waits(opened: tuple[StateFile, Lease]) -> None:
    state, lease = opened
    (job,) = await claim(state, lease)
    state.put_back(lease, job, None, next_at=float("inf"), at_s=1.0, counted=True)
    (linked,) = await held(state, lease)
    state.refused(lease, linked.job, JobState.FAILED, DONE, at_s=2.0)
    await state.flush()
    assert (await state.counts())[JobState.FAILED] == 1


async def test_a_row_that_is_let_go_has_forgotten_its_servers(opened: tuple[StateFile, Lease]) -> None:
    state, lease = opened
    linked = await hold_first(state, lease, "web")
    await state.servers.link(lease, linked.job, ["db"])
    assert await state.servers.rows_of(lease, ["web"]) == []
    await state.servers.let_go(lease, [linked.job])
    assert await state.servers.rows_of(lease, ["db"]) == []
    assert await state.next_due_s(lease) == 0.0


async def test_a_file_that_knows_of_a_stopped_server_is_kept(path: Path) -> None:
    async with StateFile.open(path) as state:
        lease = await state.take(1)
        linked = await hold_first(state, lease, "web")
        await state.servers.stopping(lease, [WEB], at_s=10.0)
        assert linked.job.attempt == 0
        await state.release(lease)
    assert not discard_untried(path)


async def test_rows_that_stop_servers_are_counted_by_their_own_word_and_the_runs(tmp_path: Path) -> None:
    policies = [InUse.STOP, InUse.SKIP, None, InUse.STOP]
    rows = [row(number, options=ImageOptions(in_use=policy)) for number, policy in enumerate(policies, 1)]
    path = make(tmp_path / "own.state", rows)
    with StateReader(path) as reader:
        assert reader.run.stop_rows == 2
        assert reader.rows_that_stop(InUse.FAIL)[0] == 2
        assert reader.rows_that_stop(InUse.STOP)[0] == 3
    async with StateFile.open(path) as state:
        await state.servers.agree(InUse.STOP)
    with StateReader(path) as reader:
        assert (reader.run.in_use, reader.run.may_stop) == (InUse.STOP, True)


def test_no_row_is_read_to_know_that_none_stops_a_server(path: Path) -> None:
    alter(path, "UPDATE job SET options = 'not JSON'")
    with StateReader(path) as reader:
        assert reader.rows_that_stop(InUse.FORCE) == (0, 0)


def test_a_word_that_nobody_wrote_is_damage(path: Path) -> None:
    alter(path, "UPDATE run SET in_use = 'ask'")
    with pytest.raises(StateCorruptError):
        StateReader(path)


async def test_a_row_that_waits_is_shown_as_waiting_for_no_time(
    opened: tuple[StateFile, Lease], path: Path
) -> None:
    state, lease = opened
    await hold_first(state, lease, "web")
    with StateReader(path) as reader:
        first, *_ = reader.jobs()
    assert (first.state, first.next_at) == (JobState.PENDING, None)


async def test_a_server_that_is_started_anyway_disturbs_the_export_under_way(
    opened: tuple[StateFile, Lease],
) -> None:
    state, lease = opened
    await take_down(state, lease, await hold_first(state, lease, "web"), WEB)
    (job,) = await claim(state, lease)
    accept(state, lease, job)
    assert await state.servers.disturbed(lease) == {}
    assert await state.servers.start(lease, ["web"], anyway=True) == {"web"}
    assert await state.servers.disturbed(lease) == {1: "web (web-1)"}
    await state.servers.up(lease, ["web"], at_s=99.0)
    assert await state.servers.disturbed(lease) == {1: "web (web-1)"}
    assert [row.job.job_id for row in await state.servers.under_way(lease)] == [1]


async def test_a_server_that_was_up_and_is_off_again_disturbs_nothing(
    opened: tuple[StateFile, Lease],
) -> None:
    state, lease = opened
    linked = await hold_first(state, lease, "web")
    await state.servers.runs(lease, ["web"], at_s=5.0)
    await state.servers.release(lease, [linked.job], at_s=50.0)
    (job,) = await claim(state, lease)
    accept(state, lease, job)
    assert await state.servers.disturbed(lease) == {}
    await state.servers.runs(lease, ["web"], at_s=60.0)
    assert await state.servers.disturbed(lease) == {1: "web"}


async def test_a_server_that_is_given_up_is_waited_for_no_longer(opened: tuple[StateFile, Lease]) -> None:
    state, lease = opened
    await take_down(state, lease, await hold_first(state, lease, "web"), WEB)
    assert await state.servers.give_up("db", "words", at_s=60.0) == 0
    assert await state.servers.give_up("web", "given up by hand", at_s=60.0) == 1
    assert await state.servers.afoot(lease) == []
    assert await state.servers.give_up("web", "again", at_s=61.0) == 0
    with StateReader(state.path) as reader:
        (downtime,) = reader.downtimes()
    assert (downtime.state, downtime.up_at) == (ServerState.GONE, 60.0)
    assert len(await held(state, lease)) == 1


async def test_servers_that_other_state_files_have_stopped_are_found(
    opened: tuple[StateFile, Lease], tmp_path: Path
) -> None:
    state, lease = opened
    other = make(tmp_path / "b.state", 1)
    (tmp_path / "c.state").write_bytes(b"no state file")
    assert await state.servers.down_elsewhere(lease) == {}
    async with StateFile.open(other) as theirs:
        held_there = await theirs.take(1)
        await take_down(theirs, held_there, await hold_first(theirs, held_there, "web"), WEB)
        found = await state.servers.down_elsewhere(lease)
        assert {each: (where.path, where.is_working) for each, where in found.items()} == {
            "web": (other, True)
        }
        await theirs.release(held_there)
    found = await state.servers.down_elsewhere(lease)
    assert not found["web"].is_working
