"""Commands of the user's around a run and around rows: what they get, and what their failure means."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from batchexport.model import JobState
from batchexport.store import StateReader
from tests.cli.served import IDS, served, volumes

SCRIPT = """#!/bin/sh
input=$(cat)
printf '%s\\n' "$input" >> "$(dirname "$0")/told.jsonl"
case "$BATCHEXPORT_HOOK_EVENT $BATCHEXPORT_HOOK_VOLUME_ID" in $FAIL_AT) echo 'no lock' >&2; exit 9;; esac
exit 0
"""


@pytest.fixture
def job() -> Callable[..., Path]:
    """A job file for the first volumes whose hooks append what they are told to told.jsonl."""

    def write(hooks: str, *, rows: int = 2) -> Path:
        script = Path("hook.sh")
        script.write_text(SCRIPT)
        script.chmod(0o700)
        Path("list.csv").write_text("volume_id\n" + "\n".join(IDS[:rows]) + "\n")
        text = '[job]\nlist = "list.csv"\n[cloud]\nname = "served"\n[hooks]\n'
        path = Path("job.toml")
        path.write_text(text + hooks.replace("HOOK", str(script.absolute())))
        return path

    return write


ALL = "".join(f'{when}_{what} = "HOOK"\n' for when in ("before", "after") for what in ("run", "row"))


def told() -> list[dict[str, Any]]:
    path = Path("told.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def states() -> list[tuple[JobState, str | None]]:
    with StateReader(Path("list.state")) as reader:
        return [(row.state, row.code) for row in reader.jobs()]


def test_hooks_run_around_the_run_and_each_row(
    batchexport: Callable[..., Result], job: Callable[..., Path]
) -> None:
    with served(*volumes()):
        result = batchexport("run", job(ALL))
    assert result.exit_code == 0, result.output
    events = [each["event"] for each in told()]
    assert (events[0], events[-1]) == ("before_run", "after_run")
    assert sorted(events[1:-1]) == ["after_row"] * 2 + ["before_row"] * 2
    for volume_id in IDS[:2]:
        before, after = (each for each in told() if each.get("row", {}).get("volume_id") == volume_id)
        assert (before["event"], after["event"]) == ("before_row", "after_row")
        assert before["row"]["image_name"] and before["run_id"] and before["list_name"] == "list.csv"
        assert after["row"]["state"] == "succeeded" and after["row"]["image_id"]
    assert told()[-1]["exit_code"] == 0 and told()[-1]["rows"]["succeeded"] == 2


@pytest.mark.parametrize("policy", ["fail", "continue"])
def test_a_row_whose_hook_fails_is_not_sent_unless_that_is_the_policy(
    batchexport: Callable[..., Result], job: Callable[..., Path], policy: str
) -> None:
    path = job(f'{ALL}on_failure = "{policy}"\n')
    Path("hook.sh").write_text(SCRIPT.replace("$FAIL_AT", f"'before_row {IDS[0]}'"))
    with served(*volumes()):
        result = batchexport("run", path)
    if policy == "continue":
        assert result.exit_code == 0 and "exit code 9: no lock" in result.stderr
        assert [state for state, _ in states()] == [JobState.SUCCEEDED] * 2
    else:
        assert result.exit_code == 3
        assert states()[0] == (JobState.FAILED, "hook_failed")
        assert states()[1][0] is JobState.SUCCEEDED
        assert "no lock" in batchexport("report", "list.state").stdout
    ended = [each["row"]["state"] for each in told() if each["event"] == "after_row"]
    assert len(ended) == 2  # also the one whose first hook failed: it may have done half of its work


def test_a_run_whose_first_hook_fails_starts_nothing_and_is_ended(
    batchexport: Callable[..., Result], job: Callable[..., Path]
) -> None:
    path = job(ALL)
    Path("hook.sh").write_text(SCRIPT.replace("$FAIL_AT", "'before_run '"))
    with served(*volumes()):
        result = batchexport("run", path)
    assert result.exit_code == 6
    assert "error: nothing was started: before_run: " in result.stderr and "no lock" in result.stderr
    assert [each["event"] for each in told()] == ["before_run", "after_run"]
    assert told()[-1]["exit_code"] == 6
    assert [state for state, _ in states()] == [JobState.PENDING] * 2


@pytest.mark.parametrize("event", ["after_row", "after_run"])
@pytest.mark.parametrize(("policy", "code"), [("fail", 3), ("continue", 0)])
def test_a_hook_that_fails_afterwards_is_told_by_the_exit_code(
    batchexport: Callable[..., Result], job: Callable[..., Path], event: str, policy: str, code: int
) -> None:
    path = job(f'{ALL}on_failure = "{policy}"\n')
    Path("hook.sh").write_text(SCRIPT.replace("$FAIL_AT", f"'{event} '*"))
    with served(*volumes()):
        result = batchexport("run", path)
    assert result.exit_code == code and f"{event}: " in result.stderr
    assert [state for state, _ in states()] == [JobState.SUCCEEDED] * 2


def test_a_hook_that_hangs_is_killed_in_time(
    batchexport: Callable[..., Result], job: Callable[..., Path]
) -> None:
    with served(*volumes()):
        result = batchexport("run", job('before_row = ["sleep", "600"]\ntimeout = 0.2\n', rows=1))
    assert result.exit_code == 3
    assert states() == [(JobState.FAILED, "hook_failed")]


@pytest.mark.slow
def test_what_was_begun_before_a_kill_is_ended_by_the_next_process(
    batchexport: Callable[..., Result], job: Callable[..., Path]
) -> None:
    path = job(ALL, rows=2)
    with served(*volumes(size_gib=500), time_scale=0.01):
        process = subprocess.Popen(
            [sys.executable, "-m", "batchexport", "run", str(path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: Path("list.state").exists() and exporting() == 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = [each["event"] for each in told()]
        assert "after_row" not in before
        assert batchexport("resume", "list.state", "--job", path).exit_code == 0
    ended = [each["row"]["volume_id"] for each in told() if each["event"] == "after_row"]
    assert sorted(ended) == IDS[:2]


def exporting() -> int:
    with StateReader(Path("list.state")) as reader:
        return sum(each.jobs for each in reader.overview().tallies if each.state is JobState.EXPORTING)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_job_file_names_every_slip_in_its_hooks(
    batchexport: Callable[..., Result], job: Callable[..., Path]
) -> None:
    path = job('before_run = ""\nafter_row = [1]\non_failure = "stop"\nmax_parallel = 0\nbefore = "x"\n')
    result = batchexport("validate", path)
    assert result.exit_code == 2
    for key in ("before_run", "after_row", "on_failure", "max_parallel", "before"):
        assert f"[hooks] {key}" in result.stderr


def test_a_hook_may_run_this_program(batchexport: Callable[..., Result], job: Callable[..., Path]) -> None:
    """No variable that a hook gets is taken for an option."""
    status = f'after_run = ["{sys.executable}", "-m", "batchexport", "status", "list.state", "-f", "json"]\n'
    with served(*volumes()):
        result = batchexport("run", job(status))
    assert result.exit_code == 0 and "after_run" not in result.stderr
