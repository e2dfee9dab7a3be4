"""A file that is copied, mounted, linked or removed under a run: known by the file, not by its path."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from batchexport.errors import StateError, StateInUseError, StateWriteError
from batchexport.model import JobState
from batchexport.store import StateFile, StateReader, Work, building
from batchexport.store.owner import this_process
from batchexport.store.sqlite import locks, transactions
from batchexport.store.sqlite.locks import Locks, file_system
from tests.store.making import accept, alter, claim, make, states

OWNER = (
    '{{"host": "{host}", "pid": 1, "since": 1.0, "started": 1, "boot_id": "{boot}",'
    ' "pid_namespace": "pid:[1]", "locks_file": {locks}}}'
)


async def at_work(path: Path, **how: Any) -> tuple[StateFile, Work]:
    """Somebody who has sent the first row."""
    state = StateFile.open(path)
    work = await state.take(1, **how)
    (job,) = await claim(work)
    accept(work, job)
    await state.flush()
    return state, work


def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder / "march.state"


async def test_a_copy_without_its_log_is_refused_by_whoever_opens_it(made: Path, tmp_path: Path) -> None:
    state, _ = await at_work(made)
    copy = elsewhere(tmp_path)
    shutil.copy(made, copy)
    await state.close()
    for _ in range(2):
        for opener in (StateReader, StateFile.open):
            with pytest.raises(StateError, match=r"march\.state-wal is missing") as caught:
                opener(copy)
            assert caught.value.exit_code == 5
            assert "copy it from where the run worked" in str(caught.value.hint)


async def test_a_copy_with_its_log_is_whole(made: Path, tmp_path: Path) -> None:
    state, _ = await at_work(made)
    copy = elsewhere(tmp_path)
    for suffix in ("", "-wal"):
        shutil.copy(f"{made}{suffix}", f"{copy}{suffix}")
    await state.close()
    assert states(copy) == [JobState.EXPORTING, JobState.PENDING, JobState.PENDING]


WORK_AND_COPY = """
import asyncio, shutil, sys
from pathlib import Path
from batchexport.store import StateFile

async def at_work(path, *copies):
    state = StateFile.open(Path(path))
    await state.take(1)
    for copy in copies:
        for suffix in ("", "-wal"):
            shutil.copy(path + suffix, copy + suffix)
    print("at work", flush=True)
    sys.stdin.read()

asyncio.run(at_work(*sys.argv[1:]))
"""


def test_a_copy_of_a_file_at_work_is_not_worked_on_beside_it(made: Path, tmp_path: Path) -> None:
    copy, other = elsewhere(tmp_path), tmp_path / "other.state"

    async def take(path: Path, *, now: float) -> None:
        async with StateFile.open(path, now=lambda: now) as state:
            await state.take(1)

    words = (sys.executable, "-c", WORK_AND_COPY, str(made), str(copy), str(other))
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        for now in (time.time(), time.time() + 3600):
            with pytest.raises(StateInUseError, match=rf"copy of .* process {process.pid} on") as caught:
                asyncio.run(take(copy, now=now))
            assert f"kill -TERM {process.pid}" in str(caught.value.hint)
        process.kill()
    asyncio.run(take(other, now=time.time()))


async def test_any_tool_may_bring_the_log_into_the_file(made: Path, tmp_path: Path) -> None:
    state, _ = await at_work(made)
    copy = elsewhere(tmp_path)
    for suffix in ("", "-wal"):
        shutil.copy(f"{made}{suffix}", f"{copy}{suffix}")
    await state.close()
    with sqlite3.connect(copy) as tool:
        tool.execute("SELECT * FROM run").fetchone()
    tool.close()
    assert os.listdir(copy.parent) == [copy.name]  # noqa: PTH208
    assert states(copy) == [JobState.EXPORTING, JobState.PENDING, JobState.PENDING]


async def test_the_mark_is_there_however_much_was_written(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "CHANGES_PER_CHECKPOINT", 1)
    state, work = await at_work(made)
    for job in await claim(work, 2):
        accept(work, job)
        await state.flush()
    copy = elsewhere(tmp_path)
    shutil.copy(made, copy)
    await state.close()
    with pytest.raises(StateError, match="is missing"):
        StateReader(copy)


async def test_the_same_file_by_another_path_is_in_use_and_not_without_its_log(
    made: Path, tmp_path: Path
) -> None:
    state, _ = await at_work(made)
    linked = elsewhere(tmp_path)
    os.link(made, linked)
    for opener in (StateReader, StateFile.open):
        with pytest.raises(StateInUseError, match="in use through another path"):
            opener(linked)
    await state.close()


async def test_a_lease_that_is_not_renewed_where_we_look_does_not_free_the_file(
    made: Path, tmp_path: Path
) -> None:
    state, _ = await at_work(made, ttl_s=-1.0)  # by what its log says it has run out
    linked = elsewhere(tmp_path)
    os.link(made, linked)
    shutil.copy(f"{made}-wal", f"{linked}-wal")
    async with StateFile.open(linked) as other:
        with pytest.raises(StateInUseError, match="through another path"):
            await other.take(1)
    await state.close()


async def test_who_ended_in_another_container_of_this_machine_is_replaced_at_once(made: Path) -> None:
    boot = this_process(now=0.0).boot_id
    owner = OWNER.format(host="gone", boot=boot, locks="true")
    alter(made, f"UPDATE target SET owner = '{owner}', lease_until = 9e9")
    async with StateFile.open(made) as state:
        await state.take(1)


@pytest.mark.parametrize(("boot", "holds"), [("another", "true"), ("this", "false")])
async def test_who_may_live_on_another_machine_is_waited_for(
    made: Path, boot: str | None, holds: str
) -> None:
    boot = boot if boot == "another" else this_process(now=0.0).boot_id
    owner = OWNER.format(host=os.uname().nodename, boot=boot, locks=holds)
    alter(made, f"UPDATE target SET owner = '{owner}', lease_until = 9e9")
    async with StateFile.open(made) as state:
        with pytest.raises(StateInUseError, match="in use by process 1"):
            await state.take(1)
    alter(made, "UPDATE target SET lease_until = 1")
    async with StateFile.open(made) as state:
        await state.take(1)


async def test_a_file_removed_under_a_run_is_noticed_and_its_place_is_kept(made: Path) -> None:
    state, work = await at_work(made)
    state.check_in_place()
    os.unlink(made)  # noqa: PTH108
    with pytest.raises(StateError, match="removed or replaced"):
        state.check_in_place()
    with pytest.raises(StateInUseError, match="removed or moved"), building(made):
        pass
    await work.release()
    await state.close()
    assert states(made) == [JobState.EXPORTING, JobState.PENDING, JobState.PENDING]
    assert [each.name for each in made.parent.iterdir() if each.suffix == ".lock"] == []


async def test_a_file_put_in_the_place_of_one_at_work_is_left_alone(made: Path, tmp_path: Path) -> None:
    state, _ = await at_work(made)
    for left in made.parent.glob("march.state*"):
        left.rename(left.with_name(f"moved-{left.name}"))
    make(new := elsewhere(tmp_path))
    new.rename(made)
    async with StateFile.open(made) as other:
        with pytest.raises(StateInUseError, match="removed or replaced under it"):
            await other.take(1)
    await state.close()
    assert states(made) == [JobState.PENDING]
    assert states(made.with_suffix(".lost.state"))[0] is JobState.EXPORTING


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
async def test_a_file_system_without_locks_is_named_as_such(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    make(path)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StateWriteError, match=r"file system .* has no locks"):
        make(path.with_name("other.state"))
    async with StateFile.open(path) as state:
        with pytest.raises(StateWriteError, match=r"file system .* has no locks"):
            await state.take(1)


def test_a_file_system_without_hard_links_is_named_as_such(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, place: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted", str(source), None, str(place))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StateWriteError, match=r"file system .* has no hard links"):
        make(path)


def test_a_link_that_leads_nowhere_is_told(path: Path) -> None:
    path.symlink_to("nowhere")
    with pytest.raises(StateError, match="leads nowhere"):
        make(path)


def test_a_network_file_system_is_warned_of_and_not_locked_in_the_way_of_sqlite(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
        f"40 22 0:50 / {tmp_path} rw,relatime shared:7 - nfs4 server:/export rw\n"
        "a line that is none\n"
    )
    assert file_system(made, mounts=mounts) == "nfs4"
    assert file_system(Path("/etc"), mounts=mounts) == "ext4"
    assert file_system(made, mounts=tmp_path / "none") is None
    held = Locks(made, mounts=mounts)
    with caplog.at_level(logging.WARNING, logger=locks.__name__):
        held.acquire()
    assert "never let two hosts work on it" in caplog.text
    with made.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    held.close()


async def test_the_lock_of_a_killed_process_goes_with_the_next_that_opens_the_file(made: Path) -> None:
    place = locks.place_of(made)
    place.touch()
    async with StateFile.open(made):
        pass
    assert sorted(os.listdir(made.parent)) == [made.name]  # noqa: PTH208
