"""Rows that wait for servers, and servers that are down, in the state file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from batchexport.changes import (
    Ended,
    Held,
    JobNeeds,
    JobsDetached,
    JobsReleased,
    Rejected,
    Reopened,
    Requeued,
    ResourceGivenUp,
    ResourceNoted,
    ResourcesAcquiring,
    ResourcesHeld,
    ResourcesReleased,
    ResourcesSeenFree,
)
from batchexport.errors import StateCorruptError
from batchexport.model import ImageOptions, InUse, JobState, ResourceState, Server, ServerState
from batchexport.store import JobWithResources, StateFile, StateReader, Work, stores
from tests.store.making import (
    DONE,
    SERVER,
    accept,
    alter,
    claim,
    found,
    make,
    needs,
    row,
    servers,
    volume,
)

WEB, DB = Server(server_id="web", status="active", name="web-1"), Server(server_id="db", status="active")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "a.state", 3)


@pytest.fixture
async def opened(path: Path) -> AsyncIterator[tuple[StateFile, Work]]:
    async with StateFile.open(path) as state:
        yield state, await state.take(1)


async def held(work: Work) -> list[JobWithResources]:
    return await work.resources.held_jobs(SERVER, after=0, limit=10)


async def hold_first(work: Work, *server_ids: str) -> JobWithResources:
    """The first row of the list, waiting for these."""
    (first, *_) = await work.unchecked(after=0, limit=1)
    work.apply(Held(job=first.job, needs=needs(*server_ids)))
    (linked,) = await held(work)
    return linked


async def take_down(work: Work, row: JobWithResources, *stopping: Server) -> None:
    server_ids = [server.server_id for server in stopping]
    await work.commit(ResourcesAcquiring(found=[found(each) for each in stopping], at_s=10.0))
    await work.commit(ResourcesHeld(resources=servers(*server_ids), at_s=20.0))
    await work.commit(JobsReleased(jobs=[row.job], at_s=50.0))


async def test_a_row_that_waits_is_claimed_by_nobody(opened: tuple[StateFile, Work]) -> None:
    _, work = opened
    linked = await hold_first(work, "web", "db")
    assert (linked.job.job_id, linked.held, linked.needs) == (1, True, ("db", "web"))
    jobs = await claim(work, 10, now_s=9e12)
    assert [job.job_id for job in jobs] == [2, 3]
    assert await work.next_due_s() == float("inf")


async def test_a_row_that_is_released_goes_before_those_that_never_waited(
    opened: tuple[StateFile, Work],
) -> None:
    _, work = opened
    (_, _, last) = await work.unchecked(after=0, limit=3)
    work.apply(Held(job=last.job, needs=needs("web")))
    await work.commit(JobsReleased(jobs=[last.job], at_s=50.0))
    (job,) = await claim(work)
    assert job.job_id == 3


async def test_rows_are_found_by_any_of_their_servers(opened: tuple[StateFile, Work]) -> None:
    _, work = opened
    await hold_first(work, "web", "db")
    assert [each.job.job_id for each in await work.resources.jobs_needing(SERVER, ["db"])] == [1]
    assert await work.resources.jobs_needing(SERVER, ["other"]) == []


async def test_no_server_is_started_while_its_volume_may_be_copied(
    opened: tuple[StateFile, Work],
) -> None:
    _, work = opened
    await take_down(work, await hold_first(work, "web"), WEB)
    (job,) = await claim(work)
    assert await work.resources.start_release(servers("web")) == frozenset()
    accept(work, job)
    assert await work.resources.start_release(servers("web")) == frozenset()
    taken = replace(job, image_id="ffffffff-0000-4000-8000-000000000001")
    work.apply(Ended(job=taken, after=JobState.SUCCEEDED, ending=DONE, at_s=103.0))
    assert await work.resources.start_release(servers("web")) == set(servers("web"))


async def test_starting_a_server_holds_what_is_pending_of_it(opened: tuple[StateFile, Work]) -> None:
    _, work = opened
    await take_down(work, await hold_first(work, "web"), WEB)
    assert await held(work) == []
    assert await work.resources.start_release(servers("web")) == set(servers("web"))
    assert [each.job.job_id for each in await held(work)] == [1]


async def test_a_file_tells_what_is_not_up_since_when_and_for_what(
    opened: tuple[StateFile, Work], path: Path
) -> None:
    state, work = opened
    await take_down(work, await hold_first(work, "web", "db"), WEB, DB)
    await work.resources.start_release(servers("db"))
    await work.commit(ResourceNoted(servers("db")[0], "does not start: no valid host"))
    assert (await state.remaining()).resources == 2
    with StateReader(path) as reader:
        db, web = reader.overview().resources
    assert (web.name, web.state, web.acquiring_at, web.held_at) == ("web-1", ResourceState.HELD, 10.0, 20.0)
    assert (db.state, db.note, db.volume_ids) == (
        ResourceState.RELEASING,
        "does not start: no valid host",
        (volume(1),),
    )
    await work.commit(ResourcesReleased(resources=servers("web", "db"), at_s=60.0))
    assert (await state.remaining()).resources == 0


@pytest.mark.parametrize("outcome", [JobState.FAILED, JobState.AMBIGUOUS])
async def test_a_row_that_is_tried_again_waits_for_its_servers_again(
    opened: tuple[StateFile, Work], outcome: JobState
) -> None:
    _, work = opened
    await take_down(work, await hold_first(work, "web"), WEB)
    (job,) = await claim(work)
    work.apply(Ended(job=job, after=outcome, ending=DONE, at_s=103.0))
    if outcome is JobState.FAILED:
        await work.retry()
    else:
        work.apply(Reopened(job=job))
    assert [each.job.job_id for each in await held(work)] == [1]


async def test_a_row_that_was_tried_can_end_while_it_waits(opened: tuple[StateFile, Work]) -> None:
    state, work = opened
    (job,) = await claim(work)
    work.apply(Requeued(job=job, ending=None, at_s=1.0, next_at=float("inf"), counted=True))
    (linked,) = await held(work)
    work.apply(Rejected(job=linked.job, after=JobState.FAILED, ending=DONE, at_s=2.0))
    await state.flush()
    assert ((await state.remaining()).jobs)[JobState.FAILED] == 1


async def test_a_row_that_is_let_go_has_forgotten_its_servers(opened: tuple[StateFile, Work]) -> None:
    _, work = opened
    linked = await hold_first(work, "web")
    await work.commit(JobNeeds(linked.job, needs("db")))
    assert await work.resources.jobs_needing(SERVER, ["web"]) == []
    await work.commit(JobsDetached([linked.job]))
    assert await work.resources.jobs_needing(SERVER, ["db"]) == []
    assert await work.next_due_s() == 0.0


async def test_a_file_that_knows_of_a_stopped_server_is_kept(path: Path) -> None:
    async with StateFile.open(path) as state:
        work = await state.take(1)
        linked = await hold_first(work, "web")
        await work.commit(ResourcesAcquiring(found=[found(WEB)], at_s=10.0))
        assert linked.job.attempt == 0
        await work.release()
    assert not stores.forget(path)


async def test_rows_that_stop_servers_are_counted_by_their_own_word_and_the_runs(tmp_path: Path) -> None:
    policies = [InUse.STOP, InUse.SKIP, None, InUse.STOP]
    rows = [row(number, options=ImageOptions(in_use=policy)) for number, policy in enumerate(policies, 1)]
    path = make(tmp_path / "own.state", rows)
    with StateReader(path) as reader:
        assert reader.run.stop_rows == 2
        assert reader.rows_that_stop(InUse.FAIL)[0] == 2
        assert reader.rows_that_stop(InUse.STOP)[0] == 3
    async with StateFile.open(path) as state:
        await state.agree(InUse.STOP)
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
    opened: tuple[StateFile, Work], path: Path
) -> None:
    _, work = opened
    await hold_first(work, "web")
    with StateReader(path) as reader:
        first, *_ = reader.jobs()
    assert (first.state, first.next_at) == (JobState.PENDING, None)


async def test_a_server_that_is_started_anyway_disturbs_the_export_under_way(
    opened: tuple[StateFile, Work],
) -> None:
    _, work = opened
    await take_down(work, await hold_first(work, "web"), WEB)
    (job,) = await claim(work)
    accept(work, job)
    assert await work.resources.disturbed() == {}
    assert await work.resources.start_release(servers("web"), anyway=True) == set(servers("web"))
    assert await work.resources.disturbed() == {1: "web (web-1)"}
    await work.commit(ResourcesReleased(resources=servers("web"), at_s=99.0))
    assert await work.resources.disturbed() == {1: "web (web-1)"}
    assert [row.job.job_id for row in await work.resources.jobs_needing(SERVER)] == [1]


async def test_a_server_that_was_up_and_is_off_again_disturbs_nothing(
    opened: tuple[StateFile, Work],
) -> None:
    _, work = opened
    linked = await hold_first(work, "web")
    await work.commit(ResourcesSeenFree(resources=servers("web"), at_s=5.0))
    await work.commit(JobsReleased(jobs=[linked.job], at_s=50.0))
    (job,) = await claim(work)
    accept(work, job)
    assert await work.resources.disturbed() == {}
    await work.commit(ResourcesSeenFree(resources=servers("web"), at_s=60.0))
    assert await work.resources.disturbed() == {1: "web"}


async def test_a_server_that_is_given_up_is_waited_for_no_longer(opened: tuple[StateFile, Work]) -> None:
    state, work = opened
    await take_down(work, await hold_first(work, "web"), WEB)
    await work.commit(ResourceGivenUp(resource_id="db", reason="of no row", at_s=60.0))
    assert [each.resource_id for each in await work.resources.outstanding(SERVER)] == ["web"]
    await work.commit(ResourceGivenUp(resource_id="web", reason="given up by hand", at_s=60.0))
    assert await work.resources.outstanding(SERVER) == []
    await work.commit(ResourceGivenUp(resource_id="web", reason="again", at_s=61.0))
    with StateReader(state.path) as reader:
        (downtime,) = reader.downtimes()
    assert (downtime.state, downtime.up_at) == (ServerState.LOST, 60.0)
    assert len(await held(work)) == 1


async def test_servers_that_other_state_files_have_stopped_are_found(
    opened: tuple[StateFile, Work], tmp_path: Path
) -> None:
    _, work = opened
    other = make(tmp_path / "b.state", 1)
    (tmp_path / "c.state").write_bytes(b"no state file")
    assert await work.resources.held_elsewhere() == {}
    async with StateFile.open(other) as theirs:
        held_there = await theirs.take(1)
        await take_down(held_there, await hold_first(held_there, "web"), WEB)
        found = await work.resources.held_elsewhere()
        assert {each: (where.path, where.is_working) for each, where in found.items()} == {
            "web": (other, True)
        }
        await held_there.release()
    found = await work.resources.held_elsewhere()
    assert not found["web"].is_working
