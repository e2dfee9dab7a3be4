import asyncio
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result
from prometheus_client.parser import text_string_to_metric_families

from batchexport.cli.console import Sinks, TerminalConsole
from batchexport.cli.observe_run import notify_on_exit
from batchexport.errors import ConfigError, ForbiddenError, StateInUseError, TransientError
from batchexport.observe.run_observer import RunObserver
from tests.cli.lists import write_list
from tests.cli.test_run import QUICK
from tests.observe.receivers import receiver
from tests.store.making import make


@pytest.fixture
def volumes() -> Any:
    return write_list(Path("volumes.csv"))


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def sample(path: str | Path, name: str, **labels: Any) -> Any:
    families = text_string_to_metric_families(Path(path).read_text())
    found = [each for family in families for each in family.samples if each.name == name]
    return sum(each.value for each in found if labels.items() <= each.labels.items())


@contextmanager
def told() -> Iterator[Any]:
    """Somebody who is told, in a thread of its own: the program has the loop of this one."""
    loop, begun, done = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found = []

    async def listen() -> None:
        async with receiver() as one:
            found.append(one)
            begun.set()
            await done.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(listen())

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)


def job_file(notify: str = "") -> Any:
    write_list(Path("volumes.csv"))
    Path("nightly.toml").write_text(
        '[job]\nlist = "volumes.csv"\nstate = "night.state"\n[cloud]\nname = "sandbox"\n'
        '[limits]\nrequests_per_second = 0\npoll_interval = "0.1s"\n'
        f'[report]\nfolder = "reports"\n{notify}'
    )
    return "nightly.toml"


def test_events_follow_every_row_from_state_to_state(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    assert batchexport("run", volumes, *QUICK, "--events", "e.ndjson").exit_code == 0
    first, *changes, last = [
        event for event in events(Path("e.ndjson").read_text()) if event["event"] != "rate_changed"
    ]
    assert (first["event"], last["event"], last["exit_code"]) == ("run_started", "run_ended", 0)
    by_row: dict[int, list[str]] = {}
    for change in changes:
        by_row.setdefault(change["line"], []).append(change["to"])
    assert by_row == {line: ["submitting", "exporting", "succeeded"] for line in (2, 3, 4)}


def test_events_of_the_next_process_are_appended(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    batchexport("run", volumes, *QUICK, "--events", "e.ndjson", "--no-wait")
    batchexport("resume", "volumes.state", *QUICK, "--events", "e.ndjson")
    names = [event["event"] for event in events(Path("e.ndjson").read_text())]
    assert names.count("run_started") == names.count("run_ended") == 2


def test_on_stdout_there_are_events_and_nothing_else(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    result = batchexport("run", volumes, *QUICK, "--events", "-")
    assert events(result.stdout)[-1]["event"] == "run_ended"
    assert "3 rows = 3 succeeded" in result.stderr


def test_a_place_where_no_events_can_go_is_said_and_does_not_cost_the_night(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    result = batchexport("run", volumes, *QUICK, "--events", "no/such/folder/e.ndjson")
    assert result.exit_code == 0
    assert "--events: cannot write to no/such/folder/e.ndjson: No such file or directory" in result.stderr


def test_a_pipe_for_events_that_nobody_reads_does_not_hold_the_run_up(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    os.mkfifo("pipe")
    result = batchexport("run", volumes, *QUICK, "--events", "pipe")
    assert result.exit_code == 0
    assert "--events: cannot write to pipe: no process reads from this pipe" in result.stderr


def test_metrics_tell_what_a_run_did(batchexport: Callable[..., Result], volumes: dict[str, Any]) -> None:
    result = batchexport("run", volumes, *QUICK, "--metrics-file", "m.prom", "--metrics-addr", "0")
    assert "metrics: http://127.0.0.1:" in result.stderr
    assert sample("m.prom", "batchexport_jobs", state="succeeded") == 3
    assert sample("m.prom", "batchexport_exported_bytes_total") > 0
    assert sample("m.prom", "batchexport_http_requests_total", code="202") == 3
    assert sample("m.prom", "batchexport_export_duration_seconds_count") == 3
    assert sample("m.prom", "batchexport_run_exit_code") == 0
    assert sample("m.prom", "batchexport_last_success_timestamp_seconds") > 0


def test_a_failure_is_in_the_metrics_and_keeps_the_last_success(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    batchexport("run", volumes, *QUICK, "--metrics-file", "m.prom")
    success = sample("m.prom", "batchexport_last_success_timestamp_seconds")
    Path("broken.csv").write_text("volume_id\nvol-7\n")
    assert batchexport("run", "broken.csv", *QUICK, "--metrics-file", "m.prom").exit_code == 2
    assert sample("m.prom", "batchexport_run_exit_code") == 2
    assert sample("m.prom", "batchexport_last_success_timestamp_seconds") == success


def test_a_port_that_is_taken_is_said_and_does_not_cost_the_night(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = batchexport("run", volumes, *QUICK, "--metrics-addr", port, "--metrics-file", "m.prom")
    assert result.exit_code == 0
    assert f"--metrics-addr: cannot listen on 127.0.0.1:{port}" in result.stderr
    assert sample("m.prom", "batchexport_run_exit_code") == 0
    assert batchexport("run", volumes, "--metrics-addr", "everywhere").exit_code == 2


def test_a_dry_run_tells_nobody(batchexport: Callable[..., Result]) -> None:
    Path("broken.csv").write_text("volume_id\nvol-7\n")
    assert (
        batchexport("run", "broken.csv", "--dry-run", "--metrics-file", "m.prom", "--events", "e").exit_code
        == 2
    )
    assert not Path("m.prom").exists() and not Path("e").exists()


def test_a_job_file_tells_webhook_and_heartbeat_and_leaves_a_report(
    batchexport: Callable[..., Result],
) -> None:
    with told() as found:
        job = job_file(f'[notify]\nwebhook = "{found.url}/hook"\nheartbeat = "{found.url}/beat"\n')
        assert batchexport("run", job).exit_code == 0
    assert sorted(path for _, path, _ in found.calls) == ["/beat", "/beat/start", "/hook"]
    text = json.loads(next(body for _, path, body in found.calls if path == "/hook"))["text"]
    assert text.startswith("batchexport nightly: done (exit code 0)\n3 of 3 volumes exported")
    assert Path("reports/night.html").read_text().startswith("<!DOCTYPE html>")


def test_a_job_that_could_not_begin_is_told_as_a_failure(batchexport: Callable[..., Result]) -> None:
    with told() as found:
        job = job_file(f'[notify]\nwebhook = "{found.url}/hook"\nheartbeat = "{found.url}/beat"\n')
        Path("volumes.csv").write_text("volume_id\nvol-7\n")
        assert batchexport("run", job).exit_code == 2
    assert sorted(path for _, path, _ in found.calls) == ["/beat/fail", "/hook"]


def test_nobody_there_does_not_change_how_a_run_ends(batchexport: Callable[..., Result]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        job = job_file(f'[notify]\nwebhook = "http://127.0.0.1:{port}/secret"\n')
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("batchexport.observe.notifications.WAITS_S", ())
            result = batchexport("run", job)
    assert result.exit_code == 0
    assert "the webhook could not be notified: 127.0.0.1: " in result.stderr
    assert "secret" not in result.output


def test_a_secret_that_is_not_set_stops_the_run_before_it_begins(batchexport: Callable[..., Result]) -> None:
    job = job_file('[notify]\nwebhook = "${NO_SUCH_HOOK}"\n')
    result = batchexport("run", job)
    assert result.exit_code == 2
    assert "error: [notify] names variables that are not set: NO_SUCH_HOOK" in result.stderr
    assert batchexport("validate", job).exit_code == 0


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (click.exceptions.Exit(3), 3, None),
        (ConfigError("no such cloud"), 2, "no such cloud"),
        (StateInUseError("pid 7 has it"), 4, "pid 7 has it"),
        (click.UsageError("no such option"), 2, "no such option"),
        (SystemExit(143), 143, None),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("a fault"), 1, "unexpected ZeroDivisionError: a fault"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_however_a_command_ends_it_is_told(
    error: ForbiddenError | TransientError, code: int, words: str
) -> None:
    console = TerminalConsole(sinks=Sinks(events="e.ndjson"))
    with pytest.raises(type(error)), notify_on_exit(console):
        raise error
    (event,) = events(Path("e.ndjson").read_text())
    assert (event["exit_code"], event["error"]) == (code, words)
    assert console.sinks.event_writer.closed


def test_an_error_that_became_an_exit_code_keeps_its_words() -> None:
    with (
        pytest.raises(click.exceptions.Exit),
        notify_on_exit(TerminalConsole(sinks=Sinks(events="e.ndjson"))),
    ):
        raise click.exceptions.Exit(6) from ConfigError("rights")
    assert events(Path("e.ndjson").read_text())[0]["error"] == "rights"


def test_a_run_that_breaks_off_is_told_with_what_broke_it(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    Path("clouds.yaml").write_text(
        "clouds: {east: {auth: {auth_url: 'http://127.0.0.1:9/v3', username: u, project_name: p}}}"
    )
    words = ("run", volumes, "--os-cloud", "east", "--os-password", "p", "--events", "e.ndjson")
    assert batchexport(*words, env={"OS_CLIENT_CONFIG_FILE": "clouds.yaml"}).exit_code == 6
    *_, last = events(Path("e.ndjson").read_text())
    assert (last["exit_code"], last["totals"]["to_do"]) == (6, 3)
    assert last["error"]


def test_whoever_does_not_want_to_wait_for_the_telling_may_leave(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def impatient(telling: Any, exit_code: int, error: ForbiddenError | TransientError) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunObserver, "end", impatient)
    with notify_on_exit(TerminalConsole(sinks=Sinks(events="e.ndjson"))):
        pass
    assert "interrupted; some notifications may not have been sent" in capsys.readouterr().err


WHOLE_JOB = """
[job]
list = "volumes.csv"
[cloud]
name = "sandbox"
[limits]
requests_per_second = 100
poll_interval = "1s"
[report]
folder = "reports"
formats = ["markdown"]
[notify]
webhook = "{url}/hook"
heartbeat = "{url}/beat"
"""


@pytest.mark.parametrize("command", ["resume", "retry"])
def test_who_goes_on_with_a_job_tells_those_whom_the_job_names(
    batchexport: Callable[..., Result], command: str, volumes: dict[str, Any]
) -> None:
    options = ("--os-cloud", "sandbox", "--requests-per-second", 100, "--state", "a.state", "--no-wait")
    assert batchexport("run", volumes, *options).exit_code == 0
    with told() as receiver:
        Path("nightly.toml").write_text(WHOLE_JOB.format(url=receiver.url))
        result = batchexport(command, "a.state", "--job", "nightly.toml")
    assert result.exit_code == 0, result.stderr
    assert [call[0:2] for call in receiver.calls[:1]] == [("GET", "/beat/start")]
    assert sorted(call[0:2] for call in receiver.calls[1:]) == [("GET", "/beat"), ("POST", "/hook")]
    assert Path("reports/a.md").exists()


def test_a_job_that_is_no_job_file_is_refused(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    result = batchexport("resume", make(Path("a.state")), "--job", "volumes.csv")
    assert result.exit_code == 2
    assert "--job: volumes.csv is no job file" in result.stderr
