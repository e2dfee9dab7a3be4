"""`run` on a job file that speaks of nights, as a command and on the practice cloud."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from batchexport.app.nightly_run import run_night
from batchexport.app.run import closing, exit_code
from batchexport.cli.console import TerminalConsole
from batchexport.cli.flags import config_of_run
from batchexport.config import CloudSettings, Settings
from batchexport.config.schedule import OnUnfinished
from batchexport.errors import (
    AuthenticationError,
    ConfigError,
    StateError,
    StateInUseError,
    StateWriteError,
    UnreachableError,
)
from batchexport.model import JobState
from batchexport.nightly_runs import exclusive_lock, read_runs, remove_old
from batchexport.report.totals import Totals
from batchexport.scheduling.throughput import OpenHours
from batchexport.store import StateReader
from tests.cli.lists import write_list
from tests.engine.fake_cloud import EPOCH
from tests.engine.fast_time import fast_now, run_fast
from tests.store.making import alter

JOB = """
[job]
list = "volumes.csv"
{job}
[cloud]
name = "sandbox"
[limits]
requests_per_second = 100
poll_interval = "1s"
[window]
hours = "{hours}"
time_zone = "UTC"
"""


def job_file(*, job: str = 'state_dir = "nights"', hours: str | None = None, count: int = 2) -> Path:
    write_list(Path("volumes.csv"), count)
    path = Path("nightly.toml")
    path.write_text(JOB.format(job=job, hours=hours or open_hours()))
    return path


def open_hours() -> str:
    """Hours of the day with now in their middle."""
    return hours_around(0)


def closed_hours() -> str:
    """Hours of the day that are twelve hours away."""
    return hours_around(12)


def hours_around(hours_from_now: int) -> str:
    middle = datetime.now(UTC) + timedelta(hours=hours_from_now)
    return f"{middle - timedelta(hours=5):%H:%M}-{middle + timedelta(hours=5):%H:%M}"


def test_outside_of_the_window_nothing_is_started(batchexport: Callable[..., Result]) -> None:
    result = batchexport("run", job_file(hours=closed_hours()))
    assert result.exit_code == 75
    assert "the window is closed, nothing was started; it opens" in result.stderr
    assert not Path("nights").exists()


def test_quiet_is_quiet_about_a_closed_window(batchexport: Callable[..., Result]) -> None:
    result = batchexport("run", "-q", job_file(hours=closed_hours()))
    assert (result.exit_code, result.stderr) == (75, "")


def test_a_night_has_its_own_state_file_and_is_done_once(batchexport: Callable[..., Result]) -> None:
    path = job_file()
    first = batchexport("run", path)
    assert first.exit_code == 0, first.stderr
    (state,) = Path("nights").glob("nightly-????-??-??.state")
    second = batchexport("run", path)
    assert second.exit_code == 0
    assert f"tonight's run is already complete: {state}" in second.stderr
    listed = batchexport("runs", "nights")
    assert state.name in listed.stdout and "done" in listed.stdout and "1 run" in listed.stdout


def test_one_state_file_serves_all_nights_where_the_job_says_so(batchexport: Callable[..., Result]) -> None:
    path = job_file(job='state = "all.state"')
    assert batchexport("run", path).exit_code == 0
    again = batchexport("run", path)
    assert again.exit_code == 0
    assert "resuming run" in again.stderr


def test_a_state_flag_wins_over_the_folder(batchexport: Callable[..., Result]) -> None:
    assert batchexport("run", job_file(), "--state", "own.state").exit_code == 0
    assert Path("own.state").exists()
    assert not Path("nights").exists()


def test_a_dry_run_shows_where_the_nights_are_kept(batchexport: Callable[..., Result]) -> None:
    result = batchexport("run", "-n", job_file())
    assert "state files: one per run in nights" in result.stdout


def test_a_second_night_of_the_job_is_refused(batchexport: Callable[..., Result]) -> None:
    path = job_file()
    with exclusive_lock(Path("nights"), "nightly"):
        result = batchexport("run", path)
    assert result.exit_code == 4
    assert f"process {os.getpid()} is running nightly already" in result.stderr


def test_a_folder_that_cannot_be_made_is_named(batchexport: Callable[..., Result]) -> None:
    Path("nights").write_text("in the way")
    result = batchexport("run", job_file())
    assert result.exit_code == 2
    assert "state_dir nights cannot be used" in result.stderr


def test_an_earlier_night_is_carried_on_with_its_own_list(batchexport: Callable[..., Result]) -> None:
    path = job_file(count=3)
    Path("nights").mkdir()
    state = "nights/nightly-2020-01-01.state"
    options = ("--os-cloud", "sandbox", "--no-wait", "--requests-per-second", 100)
    made = batchexport("run", "volumes.csv", "--state", state, *options)
    assert made.exit_code == 0
    write_list(Path("volumes.csv"), 1)
    result = batchexport("run", path)
    assert result.exit_code == 0, result.stderr
    assert "resuming run" in result.stderr
    old, new = sorted(Path("nights").glob("*.state"))
    with StateReader(old) as reader:
        assert [(each.state, each.jobs) for each in reader.overview().tallies] == [(JobState.SUCCEEDED, 3)]
    with StateReader(new) as reader:
        assert reader.run.rows in (0, 1)


def test_runs_as_json_tells_of_files_that_cannot_be_read(batchexport: Callable[..., Result]) -> None:
    Path("other.state").write_text("no state file")
    (record,) = json.loads(batchexport("runs", ".", "-f", "json").stdout)
    assert record["state_file"] == "other.state"
    assert "error" in record
    assert "other.state" in batchexport("runs", ".").stdout


def test_runs_as_json_has_the_totals(batchexport: Callable[..., Result]) -> None:
    assert batchexport("run", job_file()).exit_code == 0
    (record,) = json.loads(batchexport("runs", "nights", "-f", "json").stdout)
    assert (record["is"], record["rows"], record["succeeded"]) == ("done", 2, 2)


@pytest.mark.parametrize(("to_do", "stopped", "code"), [(1, None, 75), (1, 130, 130), (0, None, 0)])
def test_work_left_in_a_window_is_75(to_do: int, stopped: Any, code: int) -> None:
    totals = Totals.of([])
    totals.rows[JobState.PENDING] = to_do
    assert exit_code(totals, stopped=stopped, wait=True, in_window=True) == code


def now() -> float:
    return EPOCH + fast_now()


@pytest.mark.parametrize("grace_s", [0.0, 300.0])
def test_the_close_is_said_and_the_end_of_the_grace_stops_the_run(
    capsys: pytest.CaptureFixture[str], grace_s: float
) -> None:
    async def go() -> float:
        stop, closes_at = asyncio.Event(), now() + 100
        async with closing(
            OpenHours(closes_at=closes_at, watched_until=closes_at + grace_s),
            stop,
            TerminalConsole(),
            now=now,
        ):
            await stop.wait()
        return now() - closes_at

    assert run_fast(go()) == pytest.approx(grace_s, abs=5)
    stderr = capsys.readouterr().err
    assert ("no more exports start; running ones are watched for 5 min" in stderr) is bool(grace_s)
    assert "the grace period is over" in stderr


def test_a_run_that_ends_by_itself_hears_nothing_of_the_close(capsys: pytest.CaptureFixture[str]) -> None:
    async def go() -> bool:
        stop = asyncio.Event()
        hours = OpenHours(closes_at=now() + 100, watched_until=now() + 200)
        async with closing(hours, stop, TerminalConsole(), now=now):
            pass
        return stop.is_set()

    assert run_fast(go()) is False
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("after_s", [10.0, 150.0])
def test_a_run_that_is_told_to_stop_does_not_wait_for_the_close(after_s: float) -> None:
    async def go() -> float:
        stop, begun = asyncio.Event(), now()
        hours = OpenHours(closes_at=begun + 100, watched_until=begun + 10_000)
        asyncio.get_running_loop().call_later(after_s, stop.set)
        async with closing(hours, stop, TerminalConsole(), now=now):
            await stop.wait()
            await asyncio.sleep(0)
        return now() - begun

    assert run_fast(go()) < after_s + 100


def test_what_ends_a_run_is_raised_as_it_is() -> None:
    async def go() -> None:
        hours = OpenHours(closes_at=now() + 9, watched_until=now() + 9)
        async with closing(hours, asyncio.Event(), TerminalConsole(), now=now):
            raise OSError("as it is")

    with pytest.raises(OSError, match="as it is"):
        run_fast(go())


class Attendant:
    """Work on state files that only brings servers up; it notes which, and in what hours."""

    def __init__(self, *, in_vain: bool = False) -> None:
        self.seen: list[tuple[str, float | None]] = []
        self.in_vain = in_vain

    def __call__(
        self,
        state_path: Path,
        settings: Settings,
        access: CloudSettings,
        *,
        hours: OpenHours | None,
        watch: bool = True,
    ) -> int:
        self.seen.append((state_path.name, hours.closes_at if hours is not None else None))
        if not self.in_vain:
            alter(state_path, "UPDATE resource SET state = 'released'")
        return 0


def left_down(path: Path) -> None:
    """Make a state file know of a server that is down."""
    alter(path, "INSERT INTO resource (target_id, subject_id, state) VALUES (1, 'web', 'held')")


def finished_night(
    batchexport: Callable[..., Result], name: str, *, job: str = 'state_dir = "nights"'
) -> tuple[Path, Path]:
    """The job file, and a night of it that is done but for a server."""
    path = job_file(job=job)
    assert batchexport("run", path, "--state", "done.state").exit_code == 0
    Path("nights").mkdir(exist_ok=True)
    night = Path(name)
    Path("done.state").rename(night)
    left_down(night)
    return path, night


@pytest.mark.parametrize(("in_vain", "code"), [(False, 75), (True, 3)])
def test_a_closed_window_still_brings_up_what_an_earlier_night_left_down(
    batchexport: Callable[..., Result], in_vain: bool, code: int
) -> None:
    _, night = finished_night(batchexport, "nights/nightly-2026-01-01.state")
    work = Attendant(in_vain=in_vain)
    order = config_of_run(str(job_file(hours=closed_hours())), {}, {})
    assert run_night(order, TerminalConsole(), work=work) == code
    assert work.seen == [(night.name, 0.0)]


def test_one_state_file_for_all_nights_is_brought_up_too(batchexport: Callable[..., Result]) -> None:
    job = 'state = "all.state"'
    finished_night(batchexport, "all.state", job=job)
    work = Attendant()
    order = config_of_run(str(job_file(job=job, hours=closed_hours())), {}, {})
    assert run_night(order, TerminalConsole(), work=work) == 75
    assert work.seen == [("all.state", 0.0)]


def test_a_night_that_was_given_up_does_not_keep_servers_down(batchexport: Callable[..., Result]) -> None:
    job = 'state_dir = "nights"\non_unfinished = "abandon"'
    _, night = finished_night(batchexport, "nights/nightly-2026-01-01.state", job=job)
    alter(night, "UPDATE job SET state = 'pending' WHERE job_id = 1")
    work = Attendant()
    run_night(config_of_run(str(job_file(job=job)), {}, {}), TerminalConsole(), work=work)
    assert work.seen[0] == (night.name, 0.0)
    assert len(work.seen) == 2


def test_servers_of_last_night_are_brought_up_before_tonights_list_begins(
    batchexport: Callable[..., Result],
) -> None:
    """Also where nothing is left of that night but exports under way."""
    path, night = finished_night(batchexport, "nights/nightly-2026-01-01.state")
    alter(night, "UPDATE job SET state = 'exporting' WHERE job_id = 1")
    work = Attendant()
    run_night(config_of_run(str(path), {}, {}), TerminalConsole(), work=work)
    assert work.seen[0][0] == night.name
    assert work.seen[1][0] != night.name


def test_the_state_file_of_a_night_with_servers_down_is_kept(batchexport: Callable[..., Result]) -> None:
    _, night = finished_night(batchexport, "nights/nightly-2026-01-01.state")
    kept = remove_old([night, Path("nights/x.state")], keep=1, on_unfinished=OnUnfinished.ABANDON)
    assert (kept, night.exists()) == ([], True)


def test_a_night_that_cannot_be_read_is_named_and_never_taken_for_one_with_nothing_left(
    tmp_path: Path,
) -> None:
    damaged = tmp_path / "nightly-2026-01-01.state"
    damaged.write_text("not a state file")
    found, unreadable = read_runs([damaged])
    assert found == []
    assert str(damaged) in str(unreadable[0])


def newer(path: Path) -> None:
    """A state file that only a newer program can read."""
    alter(path, "PRAGMA user_version = 99")


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


def test_a_notice_names_what_was_passed_over(batchexport: Callable[..., Result]) -> None:
    _, night = finished_night(batchexport, "nights/nightly-2026-01-01.state")
    path = job_file()
    damaged(night)
    console = TerminalConsole()
    assert run_night(config_of_run(str(path), {}, {}), console, work=Attendant()) == 0
    (note,) = console.sinks.notes
    assert night.name in note


@pytest.mark.parametrize("spoil", [newer, damaged])
@pytest.mark.parametrize("policy", list(OnUnfinished))
def test_the_state_file_of_a_night_that_cannot_be_read_is_never_removed(
    batchexport: Callable[..., Result], spoil: Callable[..., None], policy: OnUnfinished
) -> None:
    """It may know of a server that is down."""
    _, night = finished_night(batchexport, "nights/nightly-2026-01-01.state")
    spoil(night)
    kept = remove_old([night, Path("nights/x.state")], keep=1, on_unfinished=policy)
    assert (kept, night.exists()) == ([], True)


@pytest.mark.parametrize("policy", list(OnUnfinished))
def test_a_night_beside_one_that_cannot_be_read_is_a_good_one(
    batchexport: Callable[..., Result], policy: OnUnfinished
) -> None:
    job = f'state_dir = "nights"\nkeep = 1\non_unfinished = "{policy}"'
    _, first = finished_night(batchexport, "nights/nightly-2026-01-01.state", job=job)
    _, second = finished_night(batchexport, "nights/nightly-2026-01-02.state", job=job)
    damaged(first)
    newer(second)
    result = batchexport("run", job_file(job=job))
    assert result.exit_code == 0, result.stderr
    assert "2 rows = 2 succeeded" in result.stdout
    for night in (first, second):
        (line,) = [each for each in result.stderr.splitlines() if night.name in each]
        assert line.startswith("skipped and left unchanged: ")
        assert night.exists()


def test_outside_of_the_window_one_that_cannot_be_read_is_named_too(
    batchexport: Callable[..., Result],
) -> None:
    _, night = finished_night(batchexport, "nights/nightly-2026-01-01.state")
    damaged(night)
    result = batchexport("run", job_file(hours=closed_hours()))
    assert result.exit_code == 75
    assert "skipped and left unchanged: " in result.stderr
    assert night.name in result.stderr


class AwayAtFirst:
    """Work on state files while a service is away for so many times; it notes when it was asked."""

    def __init__(
        self, clock: "Clock", times: int, *, error: AuthenticationError | StateError | None = None
    ) -> None:
        self.clock, self.times = clock, times
        self.error = error or UnreachableError("identity service: connection refused")
        self.began: list[Any] = []

    def __call__(
        self,
        state_path: Path,
        settings: Settings,
        access: CloudSettings,
        *,
        hours: OpenHours | None,
        watch: bool = True,
    ) -> int:
        self.began.append(self.clock())
        if len(self.began) <= self.times:
            raise self.error
        alter(state_path, "UPDATE job SET state = 'succeeded'")
        return 0


class Clock:
    """Time that passes by waiting alone."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def night_of(work: AwayAtFirst, clock: Clock, path: Path) -> int:
    return run_night(
        config_of_run(str(path), {}, {}), TerminalConsole(), work=work, now=clock, pause=clock.pause
    )


def test_a_service_that_is_away_when_a_night_begins_is_waited_for(
    batchexport: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    work = AwayAtFirst(clock, 3)
    assert night_of(work, clock, job_file()) == 0
    assert [round(at - work.began[0]) for at in work.began] == [0, 15, 45, 105]
    assert "identity service: connection refused; retrying in 15 s" in capsys.readouterr().err


@pytest.mark.parametrize(("hours", "at_most_s"), [(True, 6 * 3600), (False, 900)])
def test_it_is_waited_for_until_the_window_closes_or_some_minutes(
    batchexport: Callable[..., Result], hours: bool, at_most_s: int
) -> None:
    path = job_file()
    if not hours:
        path.write_text(path.read_text().partition("[window]")[0])
    clock = Clock()
    work = AwayAtFirst(clock, 10**6)
    with pytest.raises(UnreachableError):
        night_of(work, clock, path)
    assert work.began[-1] - work.began[0] <= at_most_s
    assert len(work.began) > 3


def test_what_no_waiting_mends_ends_the_night_at_once(batchexport: Callable[..., Result]) -> None:
    clock = Clock()
    work = AwayAtFirst(clock, 1, error=AuthenticationError("wrong password"))
    with pytest.raises(AuthenticationError):
        night_of(work, clock, job_file())
    assert len(work.began) == 1


def unfinished(batchexport: Callable[..., Result]) -> Path:
    """The job file, and an earlier night of it with rows to do."""
    path, night = finished_night(batchexport, "nights/nightly-2020-01-01.state")
    alter(night, "UPDATE resource SET state = 'released'")
    alter(night, "UPDATE job SET state = 'pending'")
    return path


class Troubled(AwayAtFirst):
    """An earlier night of which nothing can be worked on; tonight's is done at once."""

    def __call__(
        self,
        state_path: Path,
        settings: Settings,
        access: CloudSettings,
        *,
        hours: OpenHours | None,
        watch: bool = True,
    ) -> int:
        self.began.append(state_path.name)
        if "2020" in state_path.name:
            raise self.error
        alter(state_path, "UPDATE job SET state = 'succeeded'")
        return 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthenticationError("no such project any more"), 6),
        (UnreachableError("its cloud is gone"), 6),
        (ConfigError("cloud 'old' is not in clouds.yaml"), 2),
        (StateInUseError("in use by process 7"), 0),
        (StateError("row 7 cannot be read"), 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_earlier_night_that_cannot_be_worked_on_does_not_keep_tonights_from_beginning(
    batchexport: Callable[..., Result],
    capsys: pytest.CaptureFixture[str],
    error: AuthenticationError | StateError,
    code: int,
) -> None:
    path, clock = unfinished(batchexport), Clock()
    work = Troubled(clock, 0, error=error)
    assert night_of(work, clock, path) == code
    assert work.began[-1].startswith(f"nightly-{datetime.now(UTC).year}")
    assert f"this earlier run is skipped: {error}" in capsys.readouterr().err
    assert clock.now - time.time() <= 121


def test_a_full_disk_is_no_matter_of_an_earlier_night_alone(batchexport: Callable[..., Result]) -> None:
    path, clock = unfinished(batchexport), Clock()
    with pytest.raises(StateWriteError):
        night_of(Troubled(clock, 0, error=StateWriteError("disk full")), clock, path)
