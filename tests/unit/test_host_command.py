"""Commands on this machine: what they get, how they fail, and that none outlives its time."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import pytest

from batchexport import host_command
from batchexport.host_command import CommandResult, HostCommand, parse_command, run_command
from batchexport.redaction import register_secret


async def sh(script: str, *, timeout_s: float = 30.0, **more: object) -> CommandResult:
    command = HostCommand(arguments=("sh", "-c", script), timeout_s=timeout_s)
    return await run_command(command, **more)  # type: ignore[arg-type]  # whatever a test gives


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_command, "_GRACE_S", 0.2)
    monkeypatch.setattr(host_command, "_DRAIN_S", 0.2)


async def test_it_gets_environment_and_document(tmp_path: Path) -> None:
    result = await sh(
        f'cat > {tmp_path}/in; echo "$EXPORT_EVENT" > {tmp_path}/env',
        environment={"EXPORT_EVENT": "before_row"},
        document={"volume_id": "v", "name": "Büro"},
    )
    assert result.is_good and result.exit_code == 0
    assert json.loads((tmp_path / "in").read_text()) == {"volume_id": "v", "name": "Büro"}
    assert (tmp_path / "env").read_text() == "before_row\n"


async def test_a_command_that_does_not_read_its_input_is_good() -> None:
    assert (await sh("exit 0", document={"rows": ["x" * 100] * 20_000})).is_good


async def test_output_does_not_block_it_and_only_the_end_is_kept() -> None:
    result = await sh("yes | head -c 3000000; echo; echo the end >&2; exit 3")
    assert result.exit_code == 3 and result.output.endswith("the end")
    assert len(result.output) <= 300
    assert not result.is_good and "exit code 3" in str(result)


async def test_secrets_and_control_characters_stay_out_of_the_words() -> None:
    register_secret("hunter2hunter2")
    result = await sh("printf 'no \\033[31maccess with hunter2hunter2\\n'; exit 1")
    assert result.output == "no [31maccess with ***"


async def test_what_cannot_be_started_is_a_result() -> None:
    missing = await run_command(HostCommand(arguments=("/no/such/program",)))
    assert missing.exit_code == 127 and "No such file" in str(missing)
    folder = await run_command(HostCommand(arguments=("/",)))
    assert folder.exit_code == 126 and "ermission denied" in str(folder)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def ended(pid: int) -> bool:
    for _ in range(500):
        if not alive(pid):
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
async def test_when_its_time_is_over_it_and_what_it_started_are_killed(tmp_path: Path) -> None:
    script = (
        f"trap '' TERM; sh -c \"trap '' TERM; echo \\$\\$ > {tmp_path}/child; sleep 600\" & sleep 600; wait"
    )
    result = await sh(script, timeout_s=1.0)
    assert result.exit_code is None and "did not end within 1 s" in str(result)
    assert await ended(int((tmp_path / "child").read_text()))


async def there(path: Path) -> None:
    for _ in range(1000):
        if os.path.exists(path):  # noqa: ASYNC240, PTH110 - one look at a file
            return
        await asyncio.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
async def test_cancelled_it_is_killed(tmp_path: Path) -> None:
    task = asyncio.ensure_future(
        sh(f"echo $$ > {tmp_path}/p.new; mv {tmp_path}/p.new {tmp_path}/p; sleep 600")
    )
    await there(tmp_path / "p")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await ended(int((tmp_path / "p").read_text()))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
async def test_cancelled_while_it_starts_it_is_killed_with_what_it_started(tmp_path: Path) -> None:
    started = tmp_path / "p"
    task = asyncio.ensure_future(sh(f"sleep 600 & echo $! > {started}.new; mv {started}.new {started}; wait"))
    while not started.exists():
        await asyncio.sleep(0)
        # Step by step and held up between: the command has started another before its caller hears of it.
        end = time.monotonic() + 0.5
        while not started.exists() and time.monotonic() < end:
            time.sleep(0.01)  # noqa: ASYNC251 - the loop is to stand still
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await ended(int(started.read_text()))


async def test_a_child_that_keeps_the_output_open_does_not_hold_it_up() -> None:
    result = await sh("echo started; sleep 30 & echo $!")
    assert result.is_good and result.output.startswith("started")
    os.kill(int(result.output.split()[-1]), 9)


def descriptors() -> int:
    folder = Path(f"/proc/{os.getpid()}/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


async def test_many_at_once_leave_no_descriptor_open() -> None:
    await sh("true")
    before = descriptors()
    results = await asyncio.gather(*(sh("cat") for _ in range(20)))
    assert all(result.is_good for result in results)
    assert descriptors() <= before + 1


def test_commands_are_read_as_texts_and_lists() -> None:
    assert parse_command("fsfreeze -f '/my data'") == ("fsfreeze", "-f", "/my data")
    assert parse_command(["sh", "-c", "a; b"]) == ("sh", "-c", "a; b")
    for wrong in ("", "  ", "'open", [], [""], [1], 5, {"a": 1}, ["a\0b"]):
        with pytest.raises(ValueError):
            parse_command(wrong)


async def test_arguments_reach_no_shell(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    await run_command(HostCommand(arguments=(sys.executable, "-c", "pass", f"$(touch {mark}); touch {mark}")))
    assert not mark.exists()
