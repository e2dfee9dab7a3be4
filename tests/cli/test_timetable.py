"""The foreground scheduler on a clock of its own, and as a real process."""

import asyncio
import fcntl
import os
import pty
import signal
import subprocess
import termios
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from batchexport.app.schedule import scheduled_job
from batchexport.app.scheduler import LOOK_EVERY_S, Timetable, first_start
from batchexport.cli.console import TerminalConsole
from batchexport.cli.schedule import child_of, run_until_signal
from batchexport.errors import ConfigError
from tests.cli.lists import write_list
from tests.cli.test_night import closed_hours, open_hours
from tests.cli.test_processes import PROGRAM, wait_for

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY = """
[job]
list = "volumes.csv"
state_dir = "nights"
[window]
hours = "22:00-06:00"
time_zone = "Europe/Berlin"
"""
UNBOUND = '[job]\nlist = "volumes.csv"\n[schedule]\ncron = "0 22 * * *"\ntime_zone = "Europe/Berlin"\n'


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@pytest.fixture
def job_path(tmp_path: Path) -> Any:
    path = tmp_path / "nightly.toml"
    path.write_text(NIGHTLY)
    return path


class Desk:
    """A timetable whose clock is set by hand, and whose nights end when they are told to."""

    def __init__(self, *paths: Path, now: str) -> None:
        self.paths, self.time = paths, at(now)
        self.started: list[Any] = []
        self.endings: list[asyncio.Event] = []
        self.code = 0

    async def __aenter__(self) -> Any:
        self._group = asyncio.TaskGroup()
        group = await self._group.__aenter__()
        self.table = Timetable(
            console=TerminalConsole(),
            start=self._start,
            stop=asyncio.Event(),
            now=lambda: self.time,
            group=group,
        )
        self.table.read(self.paths)
        return self

    async def __aexit__(self, *ending: Any) -> None:
        self.end_nights()
        await self._group.__aexit__(*ending)

    async def look(self, when: Any = None) -> Any:
        """Look at a time; what is started by it."""
        if when is not None:
            self.time = at(when)
        before = len(self.started)
        self.wait_s = self.table.look()
        await asyncio.sleep(0)
        return self.started[before:]

    def end_nights(self) -> None:
        for ending in self.endings:
            ending.set()

    async def _start(self, path: Path, stop: asyncio.Event) -> Any:
        self.started.append(path.name)
        ending = asyncio.Event()
        self.endings.append(ending)
        await ending.wait()
        return self.code


async def test_a_job_starts_when_its_time_comes_and_once(job_path: Any) -> None:
    async with Desk(job_path, now="2027-05-01T21:59") as desk:
        assert await desk.look() == []
        assert desk.wait_s == LOOK_EVERY_S
        assert await desk.look("2027-05-01T21:59:50") == []
        assert desk.wait_s == 10
        assert await desk.look("2027-05-01T22:00:03") == ["nightly.toml"]
        assert await desk.look("2027-05-01T22:00:33") == []


async def test_a_job_never_overlaps_itself(job_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    async with Desk(job_path, now="2027-05-01T21:00") as desk:
        assert await desk.look("2027-05-01T22:00") == ["nightly.toml"]
        assert await desk.look("2027-05-02T22:00") == []
        assert "still running, skipping this start" in capsys.readouterr().err
        desk.end_nights()
        await asyncio.sleep(0)
        assert await desk.look("2027-05-03T22:00") == ["nightly.toml"]


async def test_a_missed_start_is_made_up_for_while_the_window_is_open(job_path: Any) -> None:
    async with Desk(job_path, now="2027-05-02T03:00") as desk:
        assert await desk.look() == ["nightly.toml"]
    assert first_start(scheduled_job(job_path), at("2027-05-02T12:00")) == at("2027-05-02T22:00")


@pytest.mark.parametrize("code", [6, 74, 1, -9])
async def test_an_open_window_takes_a_night_up_again_that_something_passing_ended(
    job_path: Any, code: int
) -> None:
    async with Desk(job_path, now="2027-05-01T21:00") as desk:
        assert await desk.look("2027-05-01T22:00") == ["nightly.toml"]
        desk.code = code
        desk.end_nights()
        await asyncio.sleep(0)
        assert await desk.look("2027-05-01T22:09") == []
        assert await desk.look("2027-05-01T22:10") == ["nightly.toml"]


@pytest.mark.parametrize(
    ("code", "ended"), [(0, "22:30"), (3, "22:30"), (75, "22:30"), (143, "22:30"), (6, "05:55")]
)
async def test_a_night_that_is_over_is_left_to_the_next_start(job_path: Any, code: int, ended: Any) -> None:
    async with Desk(job_path, now="2027-05-01T21:00") as desk:
        assert await desk.look("2027-05-01T22:00") == ["nightly.toml"]
        desk.code = code
        await desk.look(f"2027-05-0{'1' if ended > '12' else '2'}T{ended}")
        desk.end_nights()
        await asyncio.sleep(0)
        assert await desk.look("2027-05-02T06:30") == []
        assert await desk.look("2027-05-02T22:00") == ["nightly.toml"]


async def test_without_a_window_a_start_missed_before_is_left_to_the_next(job_path: Any) -> None:
    job_path.write_text(UNBOUND)
    assert first_start(scheduled_job(job_path), at("2027-05-02T03:00")) == at("2027-05-02T22:00")


async def test_after_a_sleep_over_several_starts_there_is_one(job_path: Any) -> None:
    async with Desk(job_path, now="2027-05-01T12:00") as desk:
        assert await desk.look("2027-05-04T08:00") == ["nightly.toml"]
        desk.end_nights()
        await asyncio.sleep(0)
        assert await desk.look("2027-05-04T08:01") == []
        assert await desk.look("2027-05-04T22:00") == ["nightly.toml"]


async def test_a_clock_that_is_set_back_does_not_postpone_the_next_start(job_path: Any) -> None:
    async with Desk(job_path, now="2027-05-10T12:00") as desk:
        await desk.look()
        assert await desk.look("2027-05-01T21:59") == []
        assert await desk.look("2027-05-01T22:00") == ["nightly.toml"]


async def test_a_small_correction_of_the_clock_is_no_step(job_path: Any) -> None:
    async with Desk(job_path, now="2027-05-01T21:59") as desk:
        assert await desk.look("2027-05-01T22:00:01") == ["nightly.toml"]
        desk.end_nights()
        await asyncio.sleep(0)
        assert await desk.look("2027-05-01T21:59:59") == []
        assert await desk.look("2027-05-01T22:00:01") == []


@pytest.mark.parametrize(("begin", "changed"), [("2027-03-26T12:00", "03-28"), ("2027-10-29T12:00", "10-31")])
async def test_minute_by_minute_every_night_starts_once_in_a_clock_change_week(
    tmp_path: Path, begin: str, changed: str
) -> None:
    path = tmp_path / "early.toml"
    path.write_text(UNBOUND.replace("0 22", "30 2"))
    async with Desk(path, now=begin) as desk:
        starts = []
        for _ in range(4 * 24 * 60):
            if await desk.look():
                starts.append(datetime.fromtimestamp(desk.time, BERLIN).strftime("%m-%d"))
                desk.end_nights()
                await asyncio.sleep(0)
            desk.time += 60
    assert changed in starts
    assert len(starts) == len(set(starts)) == 4


async def test_reading_again_takes_a_new_schedule_and_keeps_the_old_one_where_the_file_is_wrong(
    job_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Desk(job_path, now="2027-05-01T12:00") as desk:
        job_path.write_text("[job]\nlist = 1\n")
        desk.table.read([job_path])
        assert "keeping its previous schedule" in capsys.readouterr().err
        job_path.write_text(NIGHTLY.replace("22:00", "20:00"))
        desk.table.read([job_path])
        assert "next start Sat 2027-05-01 20:00 CEST" in capsys.readouterr().err
        assert await desk.look("2027-05-01T20:00") == ["nightly.toml"]


async def test_a_new_file_that_is_wrong_is_refused(job_path: Any) -> None:
    job_path.write_text("[job]\nlist = 1\n")
    with pytest.raises(ConfigError):
        scheduled_job(job_path)


async def test_a_schedule_that_ends_is_said_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], job_path: Any
) -> None:
    async with Desk(job_path, now="2027-05-01T12:00") as desk:
        (entry,) = desk.table.entries.values()
        entry.next_at = None
        assert await desk.look() == []
        desk.table.read([job_path])
        assert "next start never again" in capsys.readouterr().err


async def told(text: str, stderr: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """Wait until it is said on stderr; all that was said so far."""
    while text not in "".join(stderr):
        stderr.append(capsys.readouterr().err)
        await asyncio.sleep(0.01)
    return "".join(stderr)


async def test_signals_are_heard_while_nothing_is_due(
    job_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[str] = []
    stderr: list[str] = []

    async def start(path: Path, stop: asyncio.Event) -> Any:
        started.append(path.name)
        await stop.wait()
        return 143

    keeping = asyncio.ensure_future(
        run_until_signal([job_path], TerminalConsole(), now=lambda: at("2027-05-01T23:00"), start=start)
    )
    await told("nightly.toml: starting", stderr, capsys)
    job_path.write_text(NIGHTLY.replace("06:00", "05:00"))
    stderr.clear()
    os.kill(os.getpid(), signal.SIGHUP)
    await told("next start Sun 2027-05-02 22:00 CEST", stderr, capsys)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await keeping == 143
    assert started == ["nightly.toml"]
    assert "running jobs are drained" in capsys.readouterr().err


async def test_a_night_is_a_process_with_its_own_exit_code(job_path: Any) -> None:
    job_path.write_text(NIGHTLY.replace("22:00-06:00", closed_hours()).replace("Europe/Berlin", "UTC"))
    start = child_of(TerminalConsole(quiet=True))
    assert await start(job_path, asyncio.Event()) == 75


async def test_a_night_takes_no_module_of_the_current_folder(
    job_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may drop a list there is not to run programs with the account of the cloud."""
    job_path.write_text(NIGHTLY.replace("22:00-06:00", closed_hours()).replace("Europe/Berlin", "UTC"))
    monkeypatch.chdir(job_path.parent)
    for name in ("csv", "random", "click", "tomllib"):
        (job_path.parent / f"{name}.py").write_text("raise SystemExit(99)")
    assert await child_of(TerminalConsole(quiet=True))(job_path, asyncio.Event()) == 75


async def test_a_night_is_ended_when_the_timetable_is(job_path: Any) -> None:
    stop = asyncio.Event()
    stop.set()
    assert await child_of(TerminalConsole(verbose=2, log_format="json"))(job_path, stop) in (
        143,
        -signal.SIGTERM,
    )


def always_open(folder: Path) -> Any:
    write_list(folder / "volumes.csv", 2)
    path = folder / "always.toml"
    path.write_text(
        '[job]\nlist = "volumes.csv"\nstate_dir = "nights"\n[cloud]\nname = "sandbox"\n'
        '[limits]\nrequests_per_second = 100\npoll_interval = "1s"\n'
        f'[window]\nhours = "{open_hours()}"\ntime_zone = "UTC"\n'
    )
    return path


def test_the_program_starts_a_night_reads_again_and_drains(tmp_path: Path) -> None:
    path = always_open(tmp_path)
    log = tmp_path / "log"
    with log.open("w") as stderr:
        child = subprocess.Popen([*PROGRAM, "schedule", "run", str(path)], stderr=stderr, stdout=stderr)
        try:
            wait_for(lambda: "ended with exit code" in log.read_text(), seconds=40)
            child.send_signal(signal.SIGHUP)
            wait_for(lambda: log.read_text().count("next start") >= 3)
            child.send_signal(signal.SIGTERM)
            assert child.wait(20) == 143
        finally:
            child.kill()
            child.wait()
    assert "always.toml: ended with exit code 0" in log.read_text()
    assert len(list((tmp_path / "nights").glob("always-*.state"))) == 1


def test_the_end_of_its_terminal_ends_the_timetable(tmp_path: Path) -> None:
    """SIGHUP reads the job files again, unless it says that the terminal was closed."""
    path = always_open(tmp_path)
    log = tmp_path / "log"
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    with log.open("w") as stderr:
        child = subprocess.Popen(
            [*PROGRAM, "schedule", "run", str(path)], stderr=stderr, stdout=stderr, preexec_fn=take_terminal
        )
        try:
            os.close(theirs)
            wait_for(lambda: "ended with exit code" in log.read_text(), seconds=40)
            os.close(ours)
            assert child.wait(30) == 129
        finally:
            child.kill()
            child.wait()
    assert "SIGHUP: running jobs are drained" in log.read_text()


def test_a_signal_is_passed_on_to_the_night_at_work(tmp_path: Path) -> None:
    path = always_open(tmp_path)
    big = "\n".join(["volume_id", *(f"0b1d3c5e-0000-4000-8000-{number:012}" for number in range(4))])
    (tmp_path / "volumes.csv").write_text(big + "\n")
    log = tmp_path / "log"
    with log.open("w") as stderr:
        child = subprocess.Popen(
            [*PROGRAM, "schedule", "run", str(path)], stderr=stderr, stdout=stderr, env=os.environ
        )
        try:
            wait_for(lambda: "starting run" in log.read_text(), seconds=40)
            child.send_signal(signal.SIGINT)
            assert child.wait(30) == 130
        finally:
            child.kill()
            child.wait()
    text = log.read_text()
    assert "running jobs are drained" in text
    assert "ended with exit code 143" in text
