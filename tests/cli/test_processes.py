"""The program as a process of its own: signals, sudden death, two at once, a terminal."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchexport.model import JobState
from batchexport.store import StateReader
from tests.cli.lists import quick_ids, write_list
from tests.cli.test_run import QUICK, exports_per_volume

PROGRAM = (sys.executable, "-m", "batchexport")
#: Volumes of a few hundred GiB: their exports are under way for seconds.
SLOW = [f"0b1d3c5e-0000-4000-8000-{number:012}" for number in range(6)]


@contextlib.contextmanager
def running(*words: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The program as a child, killed at the end if it is still there."""
    child = subprocess.Popen(
        [*PROGRAM, *words], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def wait_for(true: Callable[..., bool], *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def exporting() -> bool:
    """Whether a row is known to be exporting."""
    path = Path("slow.state")
    if not path.exists():
        return False
    with StateReader(path) as reader:
        return any(tally.state is JobState.EXPORTING for tally in reader.overview().tallies)


@pytest.fixture
def slow_list() -> str:
    Path("slow.csv").write_text("\n".join(["volume_id", *SLOW]) + "\n")
    return "slow.csv"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_the_run_and_keeps_what_was_sent(
    slow_list: str, number: signal.Signals, code: int
) -> None:
    with running("run", slow_list, *QUICK) as child:
        wait_for(exporting)
        child.send_signal(number)
        stdout, stderr = child.communicate(timeout=20)
    assert child.returncode == code
    assert f"{number.name}: finishing requests in flight" in stderr
    assert "batchexport resume slow.state --os-cloud sandbox" in stdout
    assert sorted(path.name for path in Path().iterdir()) == ["slow.csv", "slow.state", "slow.state.sandbox"]


def test_a_killed_run_is_carried_on_by_the_same_command_without_a_second_export(slow_list: str) -> None:
    with running("run", slow_list, *QUICK) as child:
        wait_for(exporting)
        child.kill()
        child.wait()
    accepted = exports_per_volume("slow.state.sandbox")
    assert accepted
    with running("run", slow_list, *QUICK, "--no-wait") as child:
        stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == 0, stderr
    assert "resuming run" in stderr
    assert "6 rows = " in stdout
    assert exports_per_volume("slow.state.sandbox") == Counter(SLOW)


def test_a_second_process_on_the_same_state_file_is_refused_with_4(slow_list: str) -> None:
    with running("run", slow_list, *QUICK) as child:
        wait_for(exporting)
        second = subprocess.run(
            [*PROGRAM, "resume", "slow.state", *QUICK], capture_output=True, text=True, check=False
        )
        assert second.returncode == 4
        assert str(child.pid) in second.stderr
        status = subprocess.run(
            [*PROGRAM, "status", "slow.state"], capture_output=True, text=True, check=True
        )
        assert f"running: process {child.pid}" in status.stdout


def test_a_terminal_shows_bars_and_keeps_stdout_for_data() -> None:
    volumes = write_list(Path("volumes.csv"), 2)
    screen, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    words = [*PROGRAM, "run", str(volumes), *QUICK]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=terminal, text=True, env=environment
    ) as child:
        os.close(terminal)
        shown = _everything_from(screen)
        stdout = child.stdout.read()
    assert child.returncode == 0
    assert "rows" in shown and "2 of 2" in shown and "GiB" in shown
    assert stdout.startswith("2 rows = 2 succeeded")
    assert exports_per_volume("volumes.state.sandbox") == Counter(quick_ids(2))


def _everything_from(screen: int) -> Any:
    parts = []
    with (
        os.fdopen(screen, "rb", buffering=0) as file,
        contextlib.suppress(OSError),
    ):  # EIO: the other end closed
        while part := file.read(65536):
            parts.append(part)
    return b"".join(parts).decode()
