import asyncio
import fcntl
import io
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from batchexport.cli.status_watch import watch, watch_text
from batchexport.model import TargetKey
from batchexport.report.text import display_width
from batchexport.store import Holder, Owner, Processes, StateReader
from tests.report.runs import EVENING, make_run
from tests.report.state_files import build_succeeded


class Terminal(io.StringIO):
    def isatty(self) -> Any:
        return True


@pytest.fixture
def unfinished() -> Path:
    return asyncio.run(make_run(Path("n.state"), 60, seed=1, until_s=300))


@pytest.fixture
def at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody works on every state file."""
    owner = Owner(host="h", pid=1, since=EVENING, started=None, boot_id=None, pid_namespace=None)
    holder = Holder(target=TargetKey(), owner=owner, alive=True, lease_until=0.0)
    processes = Processes(holders=[holder], periods=[], last_end=None)
    monkeypatch.setattr(StateReader, "processes", lambda _: processes)


def test_where_nobody_works_there_is_no_pace_and_no_time_left(unfinished: Path) -> None:
    with StateReader(unfinished) as reader:
        text = watch_text(reader, unfinished, now=EVENING + 900)
    assert "pace" not in text and "left" not in text


def test_the_screen_shows_counts_pace_rest_limits_and_reasons(unfinished: Path, at_work: Any) -> None:
    with StateReader(unfinished) as reader:
        lines = watch_text(reader, unfinished, now=EVENING + 900).splitlines()
    assert any(line.startswith("60 rows = ") for line in lines)
    (pace,) = [line for line in lines if line.startswith("pace: ")]
    assert "GiB/h" in pace and "rows/min lately" in pace and "left" in pace
    assert sum(line.startswith("throttled to 3.5 requests/s") for line in lines) == 2


def test_it_is_shown_again_and_again_until_somebody_has_seen_enough(unfinished: Path) -> None:
    screen, waits = io.StringIO(), []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    watch(unfinished, every_s=7.0, screen=screen, sleep=sleep, now=lambda: EVENING + 900)
    assert screen.getvalue().count("60 rows = ") == 3
    assert waits == [7.0] * 3


def test_on_a_terminal_it_stays_in_its_place(unfinished: Path) -> None:
    screen = Terminal()

    def sleep(seconds: float) -> None:
        raise KeyboardInterrupt

    watch(unfinished, every_s=1.0, screen=screen, sleep=sleep)
    assert screen.getvalue().startswith("\x1b[H")
    assert screen.getvalue().rstrip("\n").endswith("\x1b[J")
    assert "\x1b[2J" not in screen.getvalue()


def frames(shown: str) -> list[list[str]]:
    """What was painted, one screen after the other, as lines without their marks."""
    return [
        [line.removesuffix("\x1b[K") for line in frame.split("\x1b[J")[0].replace("\r", "").split("\n")[:-1]]
        for frame in shown.split("\x1b[H")[1:]
        if "\x1b[J" in frame
    ]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 10), (20, 3), (200, 60)])
def test_it_fits_the_terminal_and_says_what_did_not(unfinished: Path, columns: int, rows: int) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def sleep(seconds: float) -> None:
        raise KeyboardInterrupt

    with os.fdopen(theirs, "w") as screen:
        watch(unfinished, every_s=1.0, screen=screen, sleep=sleep)
        (frame,) = frames(os.read(ours, 100_000).decode())
    os.close(ours)
    assert len(frame) <= rows - 1
    assert all(display_width(line) <= columns - 1 for line in frame)
    assert ("more lines" in frame[-1]) is (rows < 10)


def test_after_a_resize_it_fits_again_and_ctrl_c_leaves_a_whole_last_line(unfinished: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    words = [sys.executable, "-m", "batchexport", "status", str(unfinished), "--watch", "--every", "0.2"]
    shown = ""

    def until(screens: int) -> None:
        nonlocal shown
        while len(frames(shown)) < screens:
            shown += os.read(ours, 100_000).decode()

    with subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        until(1)
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", 8, 30, 0, 0))
        until(len(frames(shown)) + 2)
        last = frames(shown)[-1]
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # Linux tells the end of a terminal so
            while more := os.read(ours, 100_000).decode():
                shown += more
        assert process.wait() == 0
    os.close(ours)
    assert len(last) <= 7 and all(display_width(line) <= 29 for line in last)
    assert shown.endswith("\r\n") and "\x1b[?" not in shown, "no mode of the terminal is left changed"


def test_it_ends_with_the_run(batchexport: Callable[..., Result]) -> None:
    asyncio.run(build_succeeded(Path("good.state")))
    result = batchexport("status", "good.state", "--watch", "--every", "9h")
    assert result.exit_code == 0
    assert result.stdout.count("1 row = 1 succeeded") == 1
    assert "pace:" not in result.stdout


def test_watching_is_for_people(batchexport: Callable[..., Result]) -> None:
    asyncio.run(build_succeeded(Path("good.state")))
    assert batchexport("status", "good.state", "--watch", "-f", "json").exit_code == 2


def test_serving_a_page_does_not_go_with_other_output(batchexport: Callable[..., Result]) -> None:
    asyncio.run(make_run(Path("a.state"), 2))
    for words in (["--watch"], ["-f", "json"], ["-c", "rows"]):
        result = batchexport("status", "a.state", "--serve", "0", *words)
        assert result.exit_code == 2 and "--serve serves a page" in result.stderr
    assert batchexport("status", "a.state", "--serve", "nonsense").exit_code == 2
