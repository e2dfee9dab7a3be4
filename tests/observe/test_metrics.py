from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from batchexport.changes import Ended
from batchexport.errors import ConfigError
from batchexport.identity import CloudIdentity
from batchexport.model import NO_OPTIONS, Ending, Job, JobState, TargetKey
from batchexport.observe.metrics import MetricsFile, RunMetrics, Snapshot
from batchexport.observe.metrics_server import Address, serve_metrics
from batchexport.store import RunRecord, Tally

HERE, EAST = TargetKey(), TargetKey("cloud", "east", "p")
RUN = RunRecord(
    run_id="r-1", created_at=0.0, list_name='l"1".csv', list_sha256="0", rows=1, settings="{}", version="1"
)
TALLIES = [
    Tally(target=HERE, state=JobState.PENDING, jobs=3, gib=0, sized_jobs=0),
    Tally(target=EAST, state=JobState.SUCCEEDED, jobs=2, gib=30, sized_jobs=2),
    Tally(target=EAST, state=JobState.FAILED, jobs=1, gib=5, sized_jobs=1),
]


@dataclass
class Traffic:
    by_status: dict[int, int] = field(default_factory=dict)
    throttled: int = 0


@dataclass
class Client:
    requests_per_second: float
    traffic: Traffic


def job(accepted_at: float | None) -> Job:
    return Job(job_id=1, volume_id="v", image_name="i", options=NO_OPTIONS, accepted_at=accepted_at)


def metrics_of(
    clouds: dict[TargetKey, Any] | None = None,
    *,
    tallies: list[Tally] = TALLIES,
    servers_down: int = 0,
    now: float = 5000.0,
    **options: Any,
) -> RunMetrics:
    snapshot = Snapshot(tallies=tallies, servers_down=servers_down)
    return RunMetrics(lambda: snapshot, clouds or {}, now=lambda: now, **options)


def samples(metrics: RunMetrics) -> dict[tuple[str | tuple[str, str], ...], float]:
    """Every sample by name and labels, as Prometheus' own parser reads them."""
    found: dict[tuple[str | tuple[str, str], ...], float] = {}
    for family in text_string_to_metric_families(metrics.text()):
        for sample in family.samples:
            found[(sample.name, *sorted(sample.labels.items()))] = sample.value
    return found


def labels(target: TargetKey, **more: Any) -> list[tuple[str, str]]:
    return sorted(
        {
            "cloud": target.cloud or "",
            "region": target.region or "",
            "project": target.project or "",
            **more,
        }.items()
    )


def test_rows_are_told_by_state_and_target_also_the_states_that_no_row_is_in() -> None:
    found = samples(metrics_of())
    assert found[("batchexport_jobs", *labels(HERE, state="pending"))] == 3
    assert found[("batchexport_jobs", *labels(EAST, state="failed"))] == 1
    assert found[("batchexport_jobs", *labels(EAST, state="pending"))] == 0
    assert sum(1 for name, *_ in found if name == "batchexport_jobs") == 2 * len(JobState)


def test_bytes_are_those_of_what_was_exported() -> None:
    found = samples(metrics_of())
    assert found[("batchexport_exported_bytes_total", *labels(EAST))] == 30 * 1024**3
    assert found[("batchexport_exported_bytes_total", *labels(HERE))] == 0


def test_servers_that_are_down_are_counted() -> None:
    assert samples(metrics_of(servers_down=2))[("batchexport_servers_down",)] == 2


def test_requests_of_all_targets_are_told_by_code() -> None:
    clouds = {
        HERE: Client(5.0, Traffic({200: 7, 0: 1}, 0)),
        EAST: Client(2.5, Traffic({200: 3, 429: 2}, 2)),
        TargetKey("made", "of", "nothing"): object(),
    }
    found = samples(metrics_of(clouds))
    assert {
        key[1][1]: value for key, value in found.items() if key[0] == "batchexport_http_requests_total"
    } == {
        "200": 10,
        "429": 2,
        "none": 1,
    }
    assert found[("batchexport_throttled_total",)] == 2
    assert found[("batchexport_requests_per_second_limit", *labels(EAST))] == 2.5


def ended(accepted_at: float | None, state: JobState) -> Ended:
    return Ended(job=job(accepted_at), after=state, ending=Ending(reason="active"), at_s=0.0)


def test_exports_that_succeed_go_into_the_histogram() -> None:
    metrics = metrics_of()
    for accepted_at, state in (
        (4990.0, JobState.SUCCEEDED),
        (0.0, JobState.SUCCEEDED),
        (0.0, JobState.FAILED),
    ):
        metrics.job_changed(ended(accepted_at, state))
    metrics.job_changed(ended(None, JobState.SUCCEEDED))
    found = samples(metrics)
    assert found[("batchexport_export_duration_seconds_count",)] == 2
    assert found[("batchexport_export_duration_seconds_sum",)] == 5010
    assert found[("batchexport_export_duration_seconds_bucket", ("le", "30.0"))] == 1


def test_targets_are_named_as_sign_in_found_them() -> None:
    identity = CloudIdentity(cloud="prod", region="eu-de", project_id="1f", project_name="archive")
    snapshot = Snapshot(tallies=TALLIES[:1], identities={HERE: identity}, stalled=2)
    found = samples(RunMetrics(lambda: snapshot, {}))
    where = {"cloud": "prod", "region": "eu-de", "project": "archive"}
    assert found[("batchexport_jobs", *sorted({**where, "state": "pending"}.items()))] == 3
    assert found[("batchexport_exports_stalled",)] == 2


def test_a_run_has_a_beginning_a_name_and_an_end() -> None:
    metrics = metrics_of(job="nightly", host="h")
    assert ("batchexport_run_exit_code",) not in samples(metrics)
    metrics.begin(RUN)
    metrics.end(3)
    found = samples(metrics)
    info = {"job": "nightly", "host": "h", "list_name": 'l"1".csv', "run_id": "r-1"}
    assert found[("batchexport_run_info", *sorted(info.items()))] == 1
    assert found[("batchexport_run_exit_code",)] == 3
    assert found[("batchexport_run_started_timestamp_seconds",)] == 5000
    assert found[("batchexport_run_ended_timestamp_seconds",)] == 5000
    assert ("batchexport_last_success_timestamp_seconds",) not in found


@pytest.mark.parametrize(("code", "at"), [(0, 5000), (3, 77)])
def test_the_last_success_is_kept_until_there_is_another(code: int, at: int) -> None:
    metrics = metrics_of(last_success_at=77.0)
    metrics.end(code)
    assert samples(metrics)[("batchexport_last_success_timestamp_seconds",)] == at


def test_the_file_is_whole_and_remembers_the_last_success(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "b.prom")
    assert file.last_success_at() is None
    metrics = metrics_of()
    file.write(metrics)
    assert file.last_success_at() is None
    metrics.end(0)
    file.write(metrics)
    assert file.last_success_at() == 5000
    assert file.path.read_text() == metrics.text()
    assert list(tmp_path.iterdir()) == [file.path]


def test_a_file_that_cannot_be_read_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "b.prom").write_text("batchexport_last_success_timestamp_seconds soon\n")
    assert MetricsFile(tmp_path / "b.prom").last_success_at() is None
    assert "cannot read" in caplog.text


def test_a_file_that_cannot_be_written_is_told_of_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "later"
    file, metrics = MetricsFile(folder / "b.prom"), metrics_of()
    file.write(metrics)
    file.write(metrics)
    assert len(caplog.messages) == 1
    folder.mkdir()
    file.write(metrics)
    assert file.path.exists()


async def test_metrics_are_served_while_the_context_lasts() -> None:
    async with (
        serve_metrics(Address("127.0.0.1", 0), metrics_of()) as address,
        aiohttp.ClientSession() as http,
    ):
        async with http.get(f"http://{address}/metrics") as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert "batchexport_jobs{" in await answer.text()
        async with http.get(f"http://{address}/") as answer:
            assert answer.status == 404
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(f"http://{address}/metrics")


async def test_a_port_that_is_taken_is_a_setting_to_mend() -> None:
    async with serve_metrics(Address("127.0.0.1", 0), metrics_of()) as taken:
        with pytest.raises(ConfigError, match=f"--metrics-addr: cannot listen on {taken}"):
            async with serve_metrics(taken, metrics_of()):
                pass
