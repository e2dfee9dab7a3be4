"""The commands around snapshots are real ones here, and the run that wants them is really killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from batchexport.host_command import HostCommand
from batchexport.quiesce import QuiesceCommands, Quiesced, QuiescedServer, quiesced

SERVER = QuiescedServer(server_id="s1", server_name="web 1", volume_ids=["v1", "v2"])
LIMIT_S = 60.0


def write(log: Path) -> None:
    with log.open("a") as file:
        file.write("snapshots\n")


def shell(text: str, *, timeout_s: float = 30.0) -> HostCommand:
    return HostCommand(arguments=("sh", "-c", text), timeout_s=timeout_s)


def commands(before: str | None, after: str | None, **options: float) -> QuiesceCommands:
    timeout_s, hold_s = options.get("timeout_s", 30.0), options.get("hold_s", 60.0)
    return QuiesceCommands(
        before=None if before is None else shell(before, timeout_s=timeout_s),
        after=None if after is None else shell(after, timeout_s=timeout_s),
        hold_s=hold_s,
    )


def burst(asked: QuiesceCommands, log: Path) -> Quiesced:
    return asyncio.run(_burst(asked, log))


async def _burst(asked: QuiesceCommands, log: Path) -> Quiesced:
    async with quiesced(asked, SERVER) as result:
        if result.is_ready:
            write(log)
    return result


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_commands_run_around_the_snapshots_and_know_the_server(log: Path) -> None:
    told = f'echo "$BATCHEXPORT_SERVER_ID $BATCHEXPORT_SERVER_NAME $BATCHEXPORT_VOLUME_IDS" >>{log}'
    result = burst(commands(told, f"cat >>{log}"), log)
    first, second, third = log.read_text().splitlines()
    assert (first, second) == ("s1 web 1 v1 v2", "snapshots")
    assert json.loads(third) == {"server_id": "s1", "server_name": "web 1", "volume_ids": ["v1", "v2"]}
    assert result.problem is None


def test_without_commands_nothing_is_started(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    result = burst(QuiesceCommands(), log)
    assert (log.read_text(), result.problem) == ("snapshots\n", None)


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("echo no such mountpoint; exit 1", "exit code 1: no such mountpoint"),
        ("kill -9 $$", "ended by signal 9"),
        ("exec sleep 60", "did not end within 0.5 s"),
    ],
)
def test_no_snapshot_is_made_after_a_failed_before_but_after_runs(log: Path, before: str, words: str) -> None:
    result = burst(commands(before, f"echo thawed >>{log}", timeout_s=0.5), log)
    assert log.read_text() == "thawed\n"
    assert words in (result.problem or "")


def test_a_command_that_does_not_exist_fails(log: Path) -> None:
    asked = QuiesceCommands(
        before=HostCommand(arguments=("/no/such/program",)), after=shell(f"echo t >>{log}")
    )
    result = burst(asked, log)
    assert (log.read_text(), result.is_ready) == ("t\n", False)
    assert "exit code 127" in (result.problem or "")


def test_a_failed_after_is_told(log: Path) -> None:
    result = burst(commands(None, "echo still frozen; exit 3"), log)
    assert log.read_text() == "snapshots\n"
    assert "still frozen" in (result.problem or "")


def test_after_runs_when_the_snapshots_fail_or_are_cancelled(log: Path) -> None:
    async def fail(error: BaseException) -> None:
        async with quiesced(commands(None, f"echo thawed >>{log}"), SERVER):
            raise error

    for error in (ValueError("x"), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            asyncio.run(fail(error))
    assert log.read_text() == "thawed\n" * 2


def test_a_server_is_held_no_longer_than_allowed(log: Path) -> None:
    async def hold() -> Quiesced:
        async with quiesced(commands("true", f"echo thawed >>{log}", hold_s=0.2), SERVER) as result:
            await asyncio.to_thread(wait_for, log, "thawed")
        return result

    assert "longer than the server may be held" in (asyncio.run(hold()).problem or "")


def test_after_runs_when_its_guard_is_killed(log: Path, tmp_path: Path) -> None:
    async def kill() -> Quiesced:
        before = f"echo $PPID >{tmp_path}/pid"  # the shell is a child of the guard
        async with quiesced(commands(before, f"echo thawed >>{log}"), SERVER) as result:
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        return result

    assert asyncio.run(kill()).problem is None
    assert log.read_text() == "thawed\n"


RUN = """
    import asyncio
    from batchexport.host_command import HostCommand
    from batchexport.quiesce import QuiesceCommands, QuiescedServer, quiesced

    async def run():
        sh = lambda text: HostCommand(arguments=("sh", "-c", text))
        commands = QuiesceCommands(before=sh("{before}"), after=sh("echo thawed >>{log}"))
        async with quiesced(commands, QuiescedServer(server_id="s1")):
            open("{log}", "a").write("held\\n")
            await asyncio.sleep(600)

    asyncio.run(run())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("before", ["true", "echo begun >>{log}; sleep 1"])
def test_after_runs_when_the_run_is_killed(log: Path, how: signal.Signals, before: str) -> None:
    text = textwrap.dedent(RUN).format(log=log, before=before.format(log=log))
    with subprocess.Popen([sys.executable, "-c", text]) as run:
        wait_for(log, "begun" if "begun" in before else "held")
        run.send_signal(how)
        run.wait(LIMIT_S)
    wait_for(log, "thawed")
    assert log.read_text().splitlines()[-1] == "thawed"


def wait_for(log: Path, word: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not (log.exists() and word in log.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
