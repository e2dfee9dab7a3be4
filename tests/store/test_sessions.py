from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from batchexport.store import StateFile, StateReader, WorkPeriod
from tests.store.making import alter, ask, make
from tests.store.test_lease import Clock
from tests.store.test_released_files import FILES


def noted(path: Path) -> list[WorkPeriod]:
    with StateReader(path) as reader:
        return reader.processes().periods


def test_a_file_that_nobody_worked_on_has_none(made: Path) -> None:
    assert noted(made) == []


async def test_a_target_that_is_taken_and_left_is_noted(made: Path) -> None:
    now = Clock(100.0)
    async with StateFile.open(made, now=now) as state:
        work = await state.take(1)
        now.now = 160.0
        await work.release()
    assert noted(made) == [WorkPeriod(target_id=1, began_at=100.0, ended_at=160.0, was_lost=False)]


async def test_who_is_at_work_has_no_end(made: Path) -> None:
    async with StateFile.open(made, now=Clock(100.0)) as state:
        await state.take(1)
        assert [each.ended_at for each in noted(made)] == [None]


async def test_who_never_left_was_last_seen_at_the_renewal_of_the_lease(made: Path) -> None:
    now = Clock(100.0)
    async with StateFile.open(made, now=now) as lost, StateFile.open(made, now=now) as next_one:
        work = await lost.take(1)
        now.now = 150.0
        await work.renew()
        now.now = 400.0
        await next_one.take(1)
    assert noted(made) == [
        WorkPeriod(target_id=1, began_at=100.0, ended_at=150.0, was_lost=True),
        WorkPeriod(target_id=1, began_at=400.0, ended_at=None, was_lost=False),
    ]


@pytest.mark.parametrize("released", FILES, ids=lambda file: file.stem)
async def test_files_of_earlier_releases_keep_count_from_now_on(tmp_path: Path, released: Path) -> None:
    path = tmp_path / "old.state"
    shutil.copy(released, path)
    before = len(noted(path))
    async with StateFile.open(path) as state:
        await (await state.take(1)).release()
    assert len(noted(path)) == before + 1


async def test_a_take_that_is_refused_is_no_session(made: Path) -> None:
    async with StateFile.open(made) as one, StateFile.open(made) as other:
        await one.take(1)
        with pytest.raises(Exception, match="in use"):
            await other.take(1)
    assert ask(made, "SELECT count(*) FROM session") == [(1,)]


def test_what_was_never_written_is_told_as_damage(tmp_path: Path) -> None:
    path = make(tmp_path / "a.state")
    alter(path, "CREATE TABLE session (of_another_program TEXT)")
    with pytest.raises(Exception, match="not a whole state file"):
        noted(path)
