"""What a state file keeps for people: names of volumes, downtimes of servers, and how processes ended."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from batchexport.changes import (
    Held,
    ImagesSeen,
    NamesLearned,
    ResourcesAcquiring,
    ResourcesHeld,
    ResourcesReleased,
)
from batchexport.model import NO_OPTIONS, JobRows, JobState, Server, ServerState
from batchexport.report.eta import running_exports
from batchexport.store import ProcessEnd, StateFile, StateReader, Work, building, stores
from tests.store.making import (
    HERE,
    accept,
    bring,
    claim,
    found,
    image,
    make,
    needs,
    record,
    row,
    servers,
    volume,
)


def test_names_of_the_list_stand_with_their_rows(tmp_path: Path) -> None:
    path = make(tmp_path / "a.state", [replace(row(1), volume_name="db-01"), row(2)])
    with StateReader(path) as reader:
        assert [job.volume_name for job in reader.jobs()] == ["db-01", None]
        assert reader.volume_names([volume(1), volume(2)]) == {volume(1): "db-01"}


def test_names_of_rows_that_come_many_at_once_are_kept_too(tmp_path: Path) -> None:
    ids = [volume(number) for number in (1, 2, 3)]
    rows = JobRows(
        first_line=2,
        volume_ids=ids,
        image_names=None,
        target=HERE,
        options=NO_OPTIONS,
        volume_names=["a", "", "n" * 300],
    )
    with building(tmp_path / "a.state") as build:
        build.add_all(rows, [f"{one}-x" for one in ids])
        build.finish(record(3))
    with StateReader(tmp_path / "a.state") as reader:
        assert [job.volume_name for job in reader.jobs()] == ["a", None, "n" * 255]


def test_without_a_name_nothing_is_kept(tmp_path: Path) -> None:
    path = make(tmp_path / "a.state", 2)
    with StateReader(path) as reader:
        assert [job.volume_name for job in reader.jobs()] == [None, None]
        assert reader.volume_names([volume(1)]) == {}


async def test_the_clouds_names_take_the_place_of_the_lists_and_strangers_are_passed_over(
    tmp_path: Path,
) -> None:
    path = make(tmp_path / "a.state", [replace(row(1), volume_name="old"), row(2)])
    async with StateFile.open(path) as state:
        work = await state.take(1)
        work.apply(NamesLearned({volume(1): "new", volume(9): "a stranger"}))
        await bring(work, JobState.EXPORTING)
    with StateReader(path) as reader:
        assert [job.volume_name for job in reader.jobs()] == ["new", None]
        assert reader.volume_names([volume(9)]) == {}
        assert [each.name for each in running_exports(reader)] == ["new"]


async def stop(work: Work, number: int, *, at_s: float) -> None:
    server = Server(server_id="web", status="active", name="web-1")
    await work.commit(ResourcesAcquiring(found=[found(server)], at_s=at_s))
    await work.commit(ResourcesHeld(resources=servers("web"), at_s=at_s + 10))


async def test_every_time_that_a_server_was_down_is_kept_with_its_volumes(tmp_path: Path) -> None:
    path = make(tmp_path / "a.state", 2)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        (first, _) = await work.unchecked(after=0, limit=2)
        work.apply(Held(job=first.job, needs=needs("web")))
        await stop(work, 1, at_s=100.0)
        await work.commit(ResourcesReleased(resources=servers("web"), at_s=500.0))
        await work.commit(ResourcesReleased(resources=servers("web"), at_s=501.0))  # twice is once
        await stop(work, 1, at_s=900.0)
        with StateReader(path) as reader:
            over, now = reader.downtimes()
    assert (over.stopping_at, over.down_at, over.up_at, over.state) == (
        100.0,
        110.0,
        500.0,
        ServerState.RESTORED,
    )
    assert (over.name, over.volume_ids, over.is_over) == ("web-1", (volume(1),), True)
    assert (now.stopping_at, now.up_at, now.state, now.is_over) == (900.0, None, ServerState.STOPPED, False)


async def test_a_file_of_old_knows_of_the_last_time(tmp_path: Path) -> None:
    path = make(tmp_path / "a.state", 1)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        await stop(work, 1, at_s=100.0)
        await work.commit(ResourcesReleased(resources=servers("web"), at_s=500.0))
    db = sqlite3.connect(path)
    db.execute("DROP TABLE downtime")
    db.close()
    with StateReader(path) as reader:
        (over,) = reader.downtimes()
    assert (over.stopping_at, over.up_at, over.state) == (100.0, 500.0, ServerState.RESTORED)


@pytest.mark.parametrize(("word", "state"), [("up", ServerState.RESTORED), ("gone", ServerState.LOST)])
async def test_downtimes_that_an_earlier_version_kept_are_read(
    tmp_path: Path, word: str, state: ServerState
) -> None:
    path = make(tmp_path / "a.state", 1)
    async with StateFile.open(path) as file:
        work = await file.take(1)
        await stop(work, 1, at_s=100.0)
        await work.commit(ResourcesReleased(resources=servers("web"), at_s=500.0))
    db = sqlite3.connect(path)
    db.execute("UPDATE downtime SET outcome = ?", (word,))
    db.commit()
    db.close()
    with StateReader(path) as reader:
        assert [each.state for each in reader.downtimes()] == [state]


def test_how_the_last_process_ended_is_kept(tmp_path: Path) -> None:
    path = make(tmp_path / "a.state")
    end = ProcessEnd(began_at=1.0, ended_at=2.0, exit_code=3, error="e", host="h", job="nightly")
    with StateReader(path) as reader:
        assert reader.processes().last_end is None
    stores.note_end(path, replace(end, exit_code=75))
    stores.note_end(path, end)
    with StateReader(path) as reader:
        assert reader.processes().last_end == end
    assert [each.name for each in tmp_path.iterdir()] == ["a.state"]


async def test_an_end_is_noted_beside_a_reader(tmp_path: Path) -> None:
    path = make(tmp_path / "a.state")
    async with StateFile.open(path) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        accept(work, job)
    with StateReader(path) as reader:
        stores.note_end(
            path, ProcessEnd(began_at=1.0, ended_at=2.0, exit_code=0, error=None, host=None, job=None)
        )
        assert reader.processes().last_end is not None


async def test_what_an_image_was_when_it_was_looked_at_stands_with_its_export(tmp_path: Path) -> None:
    path = make(tmp_path / "a.state", 2)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        await bring(work, JobState.EXPORTING)
        with StateReader(path) as reader:
            assert [each.image_status for each in running_exports(reader)] == [None]
        work.apply(ImagesSeen({image(1): "queued", image(2): "saving"}))
        work.apply(ImagesSeen({image(1): "saving"}))
        await state.flush()
    with StateReader(path) as reader:
        assert [each.image_status for each in running_exports(reader)] == ["saving"]
        assert [job.image_status for job in reader.jobs()] == ["saving", None]
