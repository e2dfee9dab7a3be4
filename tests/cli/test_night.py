"""`run` on a job file that speaks of nights, as a command and on the practice cloud."""

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchexport.cli.closing import closing
from batchexport.cli.execution import exit_code
from batchexport.model import JobState
from batchexport.nights import alone
from batchexport.pace import OpenHours
from batchexport.report.totals import Totals
from batchexport.store import StateReader
from tests.cli.lists import write_list
from tests.engine.fake_cloud import EPOCH
from tests.engine.fast_time import fast_now, run_fast

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


def job_file(*, job='state_dir = "nights"', hours=None, count=2):
    write_list(Path("volumes.csv"), count)
    path = Path("nightly.toml")
    path.write_text(JOB.format(job=job, hours=hours or open_hours()))
    return path


def open_hours():
    """Hours of the day with now in their middle."""
    return hours_around(0)


def closed_hours():
    """Hours of the day that are twelve hours away."""
    return hours_around(12)


def hours_around(hours_from_now):
    middle = datetime.now(UTC) + timedelta(hours=hours_from_now)
    return f"{middle - timedelta(hours=5):%H:%M}-{middle + timedelta(hours=5):%H:%M}"


def test_outside_of_the_window_nothing_is_started(batchexport):
    result = batchexport("run", job_file(hours=closed_hours()))
    assert result.exit_code == 75
    assert "the window is closed, nothing was started; it opens" in result.stderr
    assert not Path("nights").exists()


def test_quiet_is_quiet_about_a_closed_window(batchexport):
    result = batchexport("run", "-q", job_file(hours=closed_hours()))
    assert (result.exit_code, result.stderr) == (75, "")


def test_a_night_has_its_own_state_file_and_is_done_once(batchexport):
    path = job_file()
    first = batchexport("run", path)
    assert first.exit_code == 0, first.stderr
    (state,) = Path("nights").glob("nightly-????-??-??.state")
    second = batchexport("run", path)
    assert second.exit_code == 0
    assert f"this night is done already: {state}" in second.stderr
    listed = batchexport("runs", "nights")
    assert state.name in listed.stdout and "done" in listed.stdout and "1 run" in listed.stdout


def test_one_state_file_serves_all_nights_where_the_job_says_so(batchexport):
    path = job_file(job='state = "all.state"')
    assert batchexport("run", path).exit_code == 0
    again = batchexport("run", path)
    assert again.exit_code == 0
    assert "carrying on with run" in again.stderr


def test_a_state_flag_wins_over_the_folder(batchexport):
    assert batchexport("run", job_file(), "--state", "own.state").exit_code == 0
    assert Path("own.state").exists()
    assert not Path("nights").exists()


def test_a_dry_run_shows_where_the_nights_are_kept(batchexport):
    result = batchexport("run", "-n", job_file())
    assert "state files: one a night in nights" in result.stdout


def test_a_second_night_of_the_job_is_refused(batchexport):
    path = job_file()
    with alone(Path("nights"), "nightly"):
        result = batchexport("run", path)
    assert result.exit_code == 4
    assert f"process {os.getpid()} is at work on a night of nightly" in result.stderr


def test_a_folder_that_cannot_be_made_is_named(batchexport):
    Path("nights").write_text("in the way")
    result = batchexport("run", job_file())
    assert result.exit_code == 2
    assert "state_dir nights cannot be used" in result.stderr


def test_an_earlier_night_is_carried_on_with_its_own_list(batchexport):
    path = job_file(count=3)
    Path("nights").mkdir()
    state = "nights/nightly-2020-01-01.state"
    options = ("--os-cloud", "sandbox", "--no-wait", "--requests-per-second", 100)
    made = batchexport("run", "volumes.csv", "--state", state, *options)
    assert made.exit_code == 0
    write_list(Path("volumes.csv"), 1)
    result = batchexport("run", path)
    assert result.exit_code == 0, result.stderr
    assert "carrying on with run" in result.stderr
    old, new = sorted(Path("nights").glob("*.state"))
    with StateReader(old) as reader:
        assert [(each.state, each.jobs) for each in reader.tallies()] == [(JobState.SUCCEEDED, 3)]
    with StateReader(new) as reader:
        assert reader.run.rows in (0, 1)


def test_runs_as_json_tells_of_files_that_cannot_be_read(batchexport):
    Path("other.state").write_text("no state file")
    (record,) = json.loads(batchexport("runs", ".", "-f", "json").stdout)
    assert record["state_file"] == "other.state"
    assert "error" in record
    assert "other.state" in batchexport("runs", ".").stdout


def test_runs_as_json_has_the_totals(batchexport):
    assert batchexport("run", job_file()).exit_code == 0
    (record,) = json.loads(batchexport("runs", "nights", "-f", "json").stdout)
    assert (record["is"], record["rows"], record["succeeded"]) == ("done", 2, 2)


@pytest.mark.parametrize(("to_do", "stopped", "code"), [(1, None, 75), (1, 130, 130), (0, None, 0)])
def test_work_left_in_a_window_is_75(to_do, stopped, code):
    totals = Totals.of([])
    totals.rows[JobState.PENDING] = to_do
    assert exit_code(totals, stopped=stopped, wait=True, in_window=True) == code


def now():
    return EPOCH + fast_now()


@pytest.mark.parametrize("grace_s", [0.0, 300.0])
def test_the_close_is_said_and_the_end_of_the_grace_stops_the_run(capsys, grace_s):
    async def go():
        stop, closes_at = asyncio.Event(), now() + 100
        async with closing(OpenHours(closes_at=closes_at, watched_until=closes_at + grace_s), stop, now=now):
            await stop.wait()
        return now() - closes_at

    assert run_fast(go()) == pytest.approx(grace_s, abs=5)
    stderr = capsys.readouterr().err
    assert ("nothing more begins, what runs is watched for 5 min" in stderr) is bool(grace_s)
    assert "the time to watch is over" in stderr


def test_a_run_that_ends_by_itself_hears_nothing_of_the_close(capsys):
    async def go():
        stop = asyncio.Event()
        async with closing(OpenHours(closes_at=now() + 100, watched_until=now() + 200), stop, now=now):
            pass
        return stop.is_set()

    assert run_fast(go()) is False
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("after_s", [10.0, 150.0])
def test_a_run_that_is_told_to_stop_does_not_wait_for_the_close(after_s):
    async def go():
        stop, begun = asyncio.Event(), now()
        hours = OpenHours(closes_at=begun + 100, watched_until=begun + 10_000)
        asyncio.get_running_loop().call_later(after_s, stop.set)
        async with closing(hours, stop, now=now):
            await stop.wait()
            await asyncio.sleep(0)
        return now() - begun

    assert run_fast(go()) < after_s + 100


def test_what_ends_a_run_is_raised_as_it_is():
    async def go():
        async with closing(OpenHours(closes_at=now() + 9, watched_until=now() + 9), asyncio.Event(), now=now):
            raise OSError("as it is")

    with pytest.raises(OSError, match="as it is"):
        run_fast(go())
