"""Volumes in use and their servers, from the command line, on a real HTTP server."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from batchexport.model import ResourceState
from batchexport.sandbox import Profile, SandboxServer
from batchexport.store import StateReader
from tests.cli.served import IDS, served, volumes

A, B = (f"{letter * 8}-0000-4000-8000-000000000000" for letter in "ab")
SERVERS = (
    SandboxServer(server_id=A, name="web", volume_ids=IDS[:2]),
    SandboxServer(server_id=B, name="db", volume_ids=IDS[1:3]),
)
CLOUD = ("--os-cloud", "served", "--requests-per-second", "0")
RUN = (*CLOUD, "--poll-interval", "0.1")
STOP = ("--in-use", "stop")


def write(*rows: Any, header: str = "volume_id", name: str = "list.csv") -> Any:
    Path(name).write_text("\n".join([header, *rows]) + "\n")
    return name


def cloud(**settings: Any) -> Any:
    return served(*volumes(), **{"servers": SERVERS, "force_upload": True} | settings)


def states(path: str = "list.state") -> Any:
    with StateReader(Path(path)) as reader:
        return [str(job.state) for job in reader.jobs()]


def afoot(path: str = "list.state") -> Any:
    with StateReader(Path(path)) as reader:
        return {server.resource_id: server.state for server in reader.overview().servers}


def test_servers_are_stopped_with_yes_and_run_again_afterwards(batchexport: Callable[..., Result]) -> None:
    listed = write(*IDS)
    with cloud():
        result = batchexport("run", listed, *RUN, *STOP, "--yes")
        plan = json.loads(batchexport("plan", listed, *CLOUD, *STOP, "-f", "json").stdout)
    assert result.exit_code == 0, result.output
    assert states() == ["succeeded"] * 5
    assert "stopping server" in result.stderr
    assert {server["status"] for server in plan["targets"][0]["servers"]} == {"active"}
    assert batchexport("servers", "list.state").stdout == "no server is stopped\n"


@pytest.mark.parametrize("profile", list(Profile))
def test_an_evs_that_wants_stopped_servers_gets_them(
    batchexport: Callable[..., Result], profile: Any
) -> None:
    listed = write(*IDS)
    with cloud(profile=profile, stopped_servers_only=profile is Profile.EVS):
        result = batchexport("run", listed, *RUN, *STOP, "--yes")
    assert result.exit_code == 0, result.output
    assert states() == ["succeeded"] * 5


def test_without_consent_nothing_is_stopped_and_the_rows_are_counted(
    batchexport: Callable[..., Result],
) -> None:
    with cloud():
        result = batchexport("run", write(*IDS), *RUN, *STOP)
        assert result.exit_code == 2
        assert "servers may be stopped for 5 rows of list.csv, and nobody has consented" in result.stderr
        assert "--yes" in result.stderr
        rows = [f"{IDS[0]},stop", f"{IDS[1]},", f"{IDS[2]},skip"]
        listed = write(*rows, header="volume_id,in_use", name="own.csv")
        result = batchexport("run", listed, *RUN)
        assert result.exit_code == 2
        assert "for 1 row of own.csv" in result.stderr
    assert list(Path().glob("*.state")) == []


def test_a_job_file_that_says_so_is_consent(batchexport: Callable[..., Result]) -> None:
    write(*IDS)
    text = '[job]\nlist = "list.csv"\n[cloud]\nname = "served"\n[servers]\nin_use = "stop"\nmax_down = 1\n'
    Path("job.toml").write_text(text)
    with cloud():
        result = batchexport("run", "job.toml", "--requests-per-second", "0", "--poll-interval", "0.1")
    assert result.exit_code == 0, result.output
    assert states() == ["succeeded"] * 5


def test_no_wait_does_not_go_with_stopping(batchexport: Callable[..., Result]) -> None:
    with cloud():
        result = batchexport("run", write(*IDS), *RUN, *STOP, "--yes", "--no-wait")
    assert result.exit_code == 2
    assert "--no-wait" in result.stderr


def test_a_plan_names_the_servers_and_their_volumes(batchexport: Callable[..., Result]) -> None:
    with cloud():
        result = batchexport("plan", write(*IDS), *CLOUD, *STOP)
    assert result.exit_code == 0
    assert f"{A}  web                   active      vol-1 ({IDS[0]}), vol-2 ({IDS[1]})" in result.stdout
    assert "2 running servers would be stopped" in result.stdout
    assert "5 rows: 5 to export (3 once servers are stopped)" in result.stdout


class Killed:
    """A run in a process of its own, killed as soon as it has a server down, or its volumes exporting."""

    def __init__(self, *words: Any, until: str = "down") -> None:
        command = [sys.executable, "-m", "batchexport", "run", *map(str, words)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 60
            while not (self._has_one_down() and (until == "down" or self._exports_all())):
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()

    @staticmethod
    def _exports_all() -> Any:
        return states()[:3] == ["exporting"] * 3

    @staticmethod
    def _has_one_down() -> Any:
        try:
            return ResourceState.HELD in afoot().values()
        except Exception:  # not made yet, or just being made
            return False


@pytest.mark.slow
def test_after_a_kill_what_is_stopped_is_shown_started_and_carried_on(
    batchexport: Callable[..., Result],
) -> None:
    listed = write(*IDS)
    with cloud(time_scale=0.05):
        Killed(listed, *RUN, *STOP, "--yes")
        shown = batchexport("servers", "list.state")
        assert (shown.exit_code, A in shown.stdout) == (0, True)
        told = json.loads(batchexport("servers", "list.state", "-f", "json").stdout)
        assert told["servers"][0]["volume_ids"] == list(IDS[:2])
        for words in (["status"], ["report"], ["report", "-f", "markdown"], ["report", "-f", "html"]):
            assert "stopped for exports" in batchexport(*words, "list.state").stdout
        assert json.loads(batchexport("status", "list.state", "-f", "json").stdout)["servers_down"]

        started = batchexport("servers", "list.state", "--start", *CLOUD, env={"COLUMNS": "200"})
        while started.exit_code == 3:  # what was being copied is named and left down
            started = batchexport("servers", "list.state", "--start", *CLOUD)
        assert started.stdout == "no server is stopped\n"

        # Neither --in-use nor --yes: both were said when the run began.
        resumed = batchexport("resume", "list.state", *RUN)
    assert resumed.exit_code == 0, resumed.output
    assert states() == ["succeeded"] * 5
    assert afoot() == {}


@pytest.mark.slow
def test_what_keeps_a_server_down_is_said_and_start_anyway_starts_it(
    batchexport: Callable[..., Result],
) -> None:
    listed = write(*IDS)
    with cloud(seconds_base=1e6, time_scale=1.0, server_stop_s=0, server_start_s=0):
        Killed(listed, *RUN, *STOP, "--yes", until="exporting")
        started = batchexport("servers", "list.state", "--start", *CLOUD, env={"COLUMNS": "200"})
        assert started.exit_code == 3
        assert re.search(
            rf"server {A} \(web\): volume \S+ is being exported, expected to end by", started.stderr
        )
        assert f"`batchexport resume list.state {' '.join(CLOUD[:2])}` starts them after" in started.stderr
        assert "Ctrl-C" not in started.stderr
        anyway = batchexport("servers", "list.state", "--start", "--anyway", *CLOUD)
        assert (anyway.exit_code, anyway.stdout) == (0, "no server is stopped\n")


def test_anyway_alone_is_a_slip(batchexport: Callable[..., Result]) -> None:
    Path("list.state").write_bytes(b"")
    result = batchexport("servers", "list.state", "--anyway")
    assert result.exit_code == 2
    assert "--anyway says how to --start servers" in result.stderr


@pytest.mark.slow
def test_a_resume_after_a_kill_starts_what_was_stopped_and_goes_on(
    batchexport: Callable[..., Result],
) -> None:
    listed = write(*IDS)
    with cloud(time_scale=0.05):
        Killed(listed, *RUN, *STOP, "--yes")
        resumed = batchexport("resume", "list.state", *RUN)
    assert resumed.exit_code == 0, resumed.output
    assert states() == ["succeeded"] * 5
    assert afoot() == {}


def test_a_cloud_that_ignores_force_is_told_and_its_servers_run(batchexport: Callable[..., Result]) -> None:
    with cloud(force_upload=False):
        result = batchexport("run", write(*IDS), *RUN, *STOP, "--yes", "--max-servers-down", "1")
    assert result.exit_code == 3
    assert states() == ["failed"] * 3 + ["succeeded"] * 2
    assert afoot() == {}


def test_a_csv_report_keeps_what_the_rows_said(batchexport: Callable[..., Result]) -> None:
    listed = write(f"{IDS[0]},stop", f"{IDS[3]},", header="volume_id,in_use")
    with cloud():
        assert batchexport("run", listed, *RUN, "--yes").exit_code == 0
    again = batchexport("report", "list.state", "-f", "csv").stdout
    Path("again.csv").write_text(again)
    assert batchexport("validate", "again.csv").exit_code == 0
    header, first, second = (line.split(",") for line in again.splitlines())
    place = header.index("in_use")
    assert (first[place], second[place]) == ("stop", "")
