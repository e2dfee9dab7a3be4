from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from batchexport.errors import StateInUseError
from batchexport.store import Owner, StateFile, StateReader
from batchexport.store.owner import PROC, is_alive, this_process, why_not
from tests.store.making import until

HOLDER = """
import asyncio, sys
from pathlib import Path
from batchexport.store import StateFile

async def hold():
    async with StateFile.open(Path(sys.argv[1])) as state:
        await state.take(1)
        print("taken", flush=True)
        await asyncio.sleep(600)

asyncio.run(hold())
"""

ME = this_process(now=1000.0)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing for a long time."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def owner_of(pid: int) -> Owner:
    """The living process of this number as an owner."""
    stat = (PROC / str(pid) / "stat").read_text()
    return replace(ME, pid=pid, started=int(stat.rpartition(")")[2].split()[19]))


def test_this_process_is_alive() -> None:
    assert is_alive(ME, here=ME) is True


def test_a_killed_process_is_dead(child: subprocess.Popen[bytes]) -> None:
    owner = owner_of(child.pid)
    assert is_alive(owner, here=ME) is True
    child.kill()
    child.wait()
    assert is_alive(owner, here=ME) is False


def test_a_killed_process_is_dead_before_its_parent_takes_note(child: subprocess.Popen[bytes]) -> None:
    owner = owner_of(child.pid)
    child.kill()
    until(lambda: is_alive(owner, here=ME) is False)
    assert child.returncode is None


def test_another_process_of_the_same_number_is_not_the_owner() -> None:
    assert ME.started is not None
    assert is_alive(replace(ME, started=ME.started - 1), here=ME) is False


def test_an_owner_of_another_boot_may_be_another_machine_of_this_name() -> None:
    assert is_alive(replace(ME, boot_id="another"), here=ME) is None


def test_an_owner_on_another_host_cannot_be_judged() -> None:
    assert is_alive(replace(ME, host="elsewhere"), here=ME) is None


def test_an_owner_in_another_container_cannot_be_judged() -> None:
    assert is_alive(replace(ME, pid_namespace="pid:[1]"), here=ME) is None


def test_a_process_of_another_user_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(pid: int, signal_number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert is_alive(ME, here=ME) is True


def test_without_proc_a_living_number_counts_as_the_owner(tmp_path: Path) -> None:
    me = this_process(now=1000.0, proc=tmp_path)
    assert (me.started, me.boot_id, me.pid_namespace) == (None, None, None)
    assert is_alive(me, here=me, proc=tmp_path) is True


@pytest.mark.parametrize(
    ("alive", "now", "refused"),
    [
        pytest.param(True, 1029.0, True, id="alive, lease running"),
        pytest.param(True, 1030.0, False, id="frozen, lease over"),
        pytest.param(False, 1001.0, False, id="dead, lease running"),
        pytest.param(None, 1029.0, True, id="elsewhere, lease running"),
        pytest.param(None, 1030.0, False, id="elsewhere, lease over"),
    ],
)
def test_who_may_be_replaced(alive: bool | None, now: float, refused: bool) -> None:
    refusal = why_not(ME, lease_until=1030.0, now=now, alive=alive)
    assert isinstance(refusal, StateInUseError) is refused


def test_the_refusal_for_an_owner_elsewhere_says_when_to_come_back() -> None:
    refusal = why_not(replace(ME, host="elsewhere", pid=7), lease_until=1030.0, now=1000.0, alive=None)
    assert refusal is not None
    assert str(refusal) == "the state file is in use by process 7 on elsewhere, since 1970-01-01 00:16:40 UTC"
    assert refusal.hint == "if it is gone for good, run the same command again after 00:17:10 UTC"


async def test_the_file_of_a_killed_process_is_taken_over_at_once(made: Path) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(made), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"taken\n"
    async with StateFile.open(made) as state:
        with pytest.raises(StateInUseError, match=f"process {holder.pid} on"):
            await state.take(1)
        holder.send_signal(signal.SIGKILL)
        await holder.wait()
        with StateReader(made) as reader:
            assert [one.alive for one in reader.processes().holders] == [False]
        work = await state.take(1)
        assert work.epoch == 2
