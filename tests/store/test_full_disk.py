"""A disk that takes nothing more: results wait in memory, and are written when there is room again."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batchexport.changes import RateLearned
from batchexport.errors import StateWriteError
from batchexport.model import JobState
from batchexport.store import StateFile, building
from tests.store.making import accept, ask, claim, make, record, row, states

EXPORTED = [JobState.EXPORTING] * 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """No room in the folder, until the end of the block."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """This process cannot write beyond `size` bytes of any file, until the end of the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
async def refused() -> AsyncIterator[asyncio.Event]:
    """Set when the writer has met the refusal of the disk."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "trying again" in record.getMessage():
                loop.call_soon_threadsafe(event.set)

    listener, logger = Listener(), logging.getLogger("batchexport.store.sqlite.writer")
    logger.addHandler(listener)
    yield event
    logger.removeHandler(listener)


async def test_changes_wait_for_room_on_the_disk_and_none_is_lost(
    small_disk: Path, refused: asyncio.Event
) -> None:
    path = make(small_disk / "a.state", 3)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        jobs = await claim(work, 3)
        with filled(small_disk):
            for number in range(2000):  # more than the space that the log has left in its last page
                work.apply(RateLearned(float(number)))
            for job in jobs:
                accept(work, job)
            await refused.wait()
            assert state.backlog > 0
        await state.flush()
        assert state.backlog == 0
    assert states(path) == EXPORTED
    assert ask(path, "SELECT requests_per_second FROM target") == [(1999.0,)]


async def test_a_claim_waits_for_room_on_the_disk(small_disk: Path, refused: asyncio.Event) -> None:
    path = make(small_disk / "a.state", 1000)  # more than the log has room for that was used before
    async with StateFile.open(path) as state:
        work = await state.take(1)
        with filled(small_disk):
            claiming = asyncio.create_task(claim(work, 1000))
            await refused.wait()
            assert not claiming.done()
        assert len(await claiming) == 1000


async def test_a_file_that_may_not_grow_is_waited_for_as_well(made: Path, refused: asyncio.Event) -> None:
    async with StateFile.open(made) as state:
        work = await state.take(1)
        jobs = await claim(work, 3)
        with no_file_grows_beyond(4096):
            for job in jobs:
                accept(work, job)
            await refused.wait()
        await state.flush()
    assert states(made) == EXPORTED


async def test_a_disk_that_stays_full_ends_every_call_with_a_write_error(
    made: Path, refused: asyncio.Event
) -> None:
    state = StateFile.open(made, write_grace_s=0.05)
    work = await state.take(1)
    first, second, _ = await claim(work, 3)
    with no_file_grows_beyond(4096):
        accept(work, first)
        waiting = [asyncio.create_task(state.flush()), asyncio.create_task(claim(work))]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StateWriteError, StateWriteError]
    with pytest.raises(StateWriteError, match="cannot write it"):
        accept(work, second)
    with pytest.raises(StateWriteError) as caught:
        await state.flush()
    assert "make room on the disk" in str(caught.value.hint)
    with pytest.raises(StateWriteError):
        await state.close()
    assert states(made) == [JobState.SUBMITTING] * 3


async def test_the_error_that_ended_the_work_is_not_hidden_by_the_disk(made: Path) -> None:
    with pytest.raises(RuntimeError, match="what went wrong first"):
        async with StateFile.open(made, write_grace_s=0.05) as state:
            work = await state.take(1)
            with no_file_grows_beyond(4096), pytest.raises(StateWriteError):
                await claim(work)
            raise RuntimeError("what went wrong first")


async def test_leaving_in_a_hurry_does_not_wait_for_the_disk(made: Path, refused: asyncio.Event) -> None:
    state = StateFile.open(made, write_grace_s=3600.0)
    work = await state.take(1)
    (job,) = await claim(work)
    with no_file_grows_beyond(4096):
        accept(work, job)
        await refused.wait()
        closing = asyncio.create_task(state.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
    assert states(made)[0] == JobState.SUBMITTING


def test_a_disk_too_small_for_the_list_leaves_nothing_behind(small_disk: Path) -> None:
    path = small_disk / "a.state"
    with pytest.raises(StateWriteError, match="full"), building(path) as build:
        for number in range(20_000):
            build.add(row(number), f"{number}-run")
        build.finish(record(20_000))
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_is_told_before_the_first_row(small_disk: Path) -> None:
    with (
        filled(small_disk),
        pytest.raises(StateWriteError, match="full"),
        building(small_disk / "a.state") as build,
    ):
        build.finish(record(0))
    assert list(small_disk.iterdir()) == []
