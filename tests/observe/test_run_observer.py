import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from batchexport.changes import Ended
from batchexport.config.outputs import Heartbeat, Notify, Reports
from batchexport.model import NO_OPTIONS, Ending, Job, JobState, TargetKey
from batchexport.observe import run_observer as module
from batchexport.observe.metrics_server import Address
from batchexport.observe.run_observer import RunObserver, write_reports
from tests.observe.receivers import receiver
from tests.report.state_files import AT, build_mixed

JOB = Job(job_id=6, volume_id="v", image_name="i", options=NO_OPTIONS, accepted_at=AT)
SUCCEEDED = Ended(
    job=replace(JOB, image_id="i"), after=JobState.SUCCEEDED, ending=Ending(reason="active"), at_s=AT
)


@pytest.fixture
async def state_path(tmp_path: Path) -> Any:
    path = tmp_path / "night.state"
    await build_mixed(path)
    return path


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def value(text: str, name: str) -> float:
    return next(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )


def rates(stream: io.StringIO) -> list[float]:
    return [event["requests_per_second"] for event in events(stream) if event["event"] == "rate_changed"]


async def until(holds: Callable[..., Any]) -> None:
    """Wait for something that comes by itself, ten seconds at most."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  what is waited for tells nobody
            await asyncio.sleep(0.001)


class Client:
    """A cloud of which only the rate is asked."""

    requests_per_second = 5.0


async def test_a_run_is_told_from_its_beginning_to_its_end(state_path: Path) -> None:
    stream = io.StringIO()
    telling = RunObserver(events=stream, now=lambda: AT + 60)
    async with telling.observing(state_path):
        telling.job_changed(SUCCEEDED)
    telling.run_ended(state_path, 3, None)
    started, changed, ended = events(stream)
    assert (started["event"], started["totals"]["rows"], started["state_file"]) == (
        "run_started",
        7,
        str(state_path),
    )
    assert (changed["line"], changed["target"], changed["export_seconds"]) == (
        7,
        "east/default/default",
        60.0,
    )
    assert (ended["event"], ended["exit_code"], ended["totals"]["failed"]) == ("run_ended", 3, 2)


async def test_rates_are_told_when_they_change(state_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_S", 0.001)
    stream, client = io.StringIO(), Client()
    telling = RunObserver(events=stream)

    @asynccontextmanager
    async def connect(key: TargetKey, learnt: float | None) -> AsyncIterator[Any]:
        yield client

    async with telling.observing(state_path), telling.instrument(connect)(TargetKey(), 2.0) as cloud:
        assert id(cloud) == id(client)
        await until(lambda: rates(stream) == [5.0])
        client.requests_per_second = 2.5
        await until(lambda: rates(stream) == [5.0, 2.5])


async def test_the_metrics_file_is_there_from_the_beginning_and_right_at_the_end(
    state_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "b.prom"
    telling = RunObserver(metrics_file=path, now=lambda: AT + 60)
    async with telling.observing(state_path):
        assert value(path.read_text(), "batchexport_run_started_timestamp_seconds") == AT + 60
        telling.job_changed(SUCCEEDED)
    telling.run_ended(state_path, 74, "disk full")
    text = path.read_text()
    assert value(text, "batchexport_run_exit_code") == 74
    assert value(text, "batchexport_export_duration_seconds_count") == 1
    assert 'batchexport_jobs{cloud="east",project="",region="",state="failed"} 1.0' in text


async def test_where_metrics_are_served_is_said(state_path: Path) -> None:
    said: list[Any] = []
    telling = RunObserver(metrics_address=Address("127.0.0.1", 0), say=said.append)
    async with telling.observing(state_path):
        (line,) = said
        assert line.startswith("metrics: http://127.0.0.1:") and line.endswith("/metrics")
    telling.run_ended(state_path, 0, None)


async def test_a_state_file_that_cannot_be_read_leaves_the_figures_as_they_were(
    state_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.prom"
    telling = RunObserver(metrics_file=path, events=io.StringIO())
    async with telling.observing(state_path):
        telling._reader.close()
        telling.job_changed(SUCCEEDED)
        telling._update()
        assert 'state="failed"} 1.0' in path.read_text()


async def test_what_goes_wrong_in_the_telling_stays_there_and_is_told_once(
    state_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*values: Any) -> None:
        raise RuntimeError("a fault of ours")

    telling = RunObserver(events=io.StringIO())
    monkeypatch.setattr(telling._events, "job_changed", fail)
    async with telling.observing(state_path):
        for _ in range(3):
            telling.job_changed(SUCCEEDED)
    assert caplog.messages == ["a change could not be reported: RuntimeError: a fault of ours"]


async def test_reports_are_written_in_the_forms_asked_for(state_path: Path, tmp_path: Path) -> None:
    telling = RunObserver(
        reports=Reports(folder=tmp_path / "out", formats=("html", "markdown", "csv", "json", "table"))
    )
    telling.run_ended(state_path, 0, None)
    names = [path.name for path in sorted((tmp_path / "out").iterdir())]
    assert names == ["night.csv", "night.html", "night.json", "night.md", "night.txt"]
    assert (tmp_path / "out" / "night.html").read_text().startswith("<!DOCTYPE html>")


async def test_reports_that_cannot_be_written_are_a_warning(
    state_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out").write_text("a file in the place of the folder")
    assert write_reports(state_path, Reports(folder=tmp_path / "out"), now=AT) == []
    assert "could not be written" in caplog.text


def test_those_who_are_told_once_hear_of_a_run_that_could_not_begin(tmp_path: Path) -> None:
    stream, path = io.StringIO(), tmp_path / "b.prom"
    RunObserver(name="nightly", events=stream, metrics_file=path).end(2, "3 problems")
    (event,) = events(stream)
    assert (event["exit_code"], event["error"], event["totals"]) == (2, "3 problems", None)
    assert value(path.read_text(), "batchexport_run_exit_code") == 2


@pytest.mark.parametrize("code", [0, 75])
def test_a_command_that_did_nothing_on_purpose_is_silent(code: int) -> None:
    stream = io.StringIO()
    RunObserver(events=stream, notify=Notify(webhook="http://127.0.0.1:1/")).end(code, None)
    assert stream.getvalue() == ""


async def test_the_heartbeat_hears_of_the_start_once_and_the_webhook_of_the_end(
    state_path: Path, tmp_path: Path
) -> None:
    async with receiver() as found:
        beat = Heartbeat(success=f"{found.url}/ok", start=f"{found.url}/start", failure=f"{found.url}/fail")
        telling = RunObserver(
            notify=Notify(webhook=f"{found.url}/hook", heartbeat=beat),
            reports=Reports(folder=tmp_path / "out"),
        )
        for _ in range(2):
            async with telling.observing(state_path):
                await until(lambda: found.calls)
            telling.run_ended(state_path, 3, None)
        await asyncio.to_thread(telling.end, 3, None)
    assert sorted(path for _, path, _ in found.calls) == ["/fail", "/hook", "/start"]
    body = json.loads(next(body for _, path, body in found.calls if path == "/hook"))
    assert body["text"].startswith(
        "batchexport volumes.csv: done, with failures (exit code 3)\n1 of 7 volumes"
    )
    assert "night.html" in body["text"]
    assert body["batchexport"]["failed"] == 2


async def test_what_else_is_to_be_known_is_told_at_the_end(state_path: Path) -> None:
    notes: list[Any] = []
    async with receiver() as found:
        telling = RunObserver(notify=Notify(webhook=f"{found.url}/hook"), notes=notes)
        async with telling.observing(state_path):
            notes.append("passed over: old.state")
        telling.run_ended(state_path, 3, None)
        await asyncio.to_thread(telling.end, 3, None)
    body = json.loads(next(body for _, path, body in found.calls if path == "/hook"))
    assert "note: passed over: old.state" in body["text"]


async def test_a_start_that_nobody_hears_does_not_hold_the_run_up(state_path: Path) -> None:
    async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never_answers, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    telling = RunObserver(notify=Notify(heartbeat=Heartbeat(success=url, start=url)))
    async with server, asyncio.timeout(5), telling.observing(state_path):
        await asyncio.sleep(0)
