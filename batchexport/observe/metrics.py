"""Metrics of a run in Prometheus' text format. Rows and bytes come from the state file."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from batchexport.changes import JobChange
from batchexport.deliveries import DeliveryState
from batchexport.files import write_whole
from batchexport.identity import CloudIdentity
from batchexport.model import JobState, TargetKey
from batchexport.store import RunRecord, Tally

#: Histogram buckets from half a minute to half a day, each about twice the one before it.
EXPORT_BUCKETS_S = (30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200)
BYTES_PER_GIB = 1024**3
_TARGET = ("cloud", "region", "project")


class TrafficCounts(Protocol):
    """Requests by HTTP status; 0 = no response."""

    @property
    def by_status(self) -> Mapping[int, int]: ...
    @property
    def throttled(self) -> int: ...


@runtime_checkable
class CountedCloud(Protocol):
    """A cloud client that counts its requests."""

    @property
    def requests_per_second(self) -> float: ...
    @property
    def traffic(self) -> TrafficCounts: ...


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the state file says at one moment."""

    tallies: Sequence[Tally] = ()
    servers_down: int = 0
    copies: int = 0
    stalled: int = 0
    identities: Mapping[TargetKey, CloudIdentity] = msgspec.field(default_factory=dict)
    deliveries: Mapping[DeliveryState, tuple[int, int]] | None = None  #: number and bytes, by state


class RunMetrics(Collector):
    """The metrics of one run, collected anew for each scrape.

    `clouds` are the clients of the targets, which may be closed already; a client that does not count its
    requests is ignored.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        clouds: Mapping[TargetKey, object],
        *,
        last_success_at: float | None = None,
        job: str = "",
        host: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._snapshot = snapshot
        self._clouds = clouds
        self._last_success_at = last_success_at
        self._job, self._host = job, host
        self._now = now
        self._run: RunRecord | None = None
        self._started_at = now()
        self._ended: tuple[float, int] | None = None
        self._registry = CollectorRegistry()
        self._took = Histogram(
            "batchexport_export_duration_seconds",
            "Time from the cloud's acceptance of an export to its success",
            buckets=EXPORT_BUCKETS_S,
            registry=self._registry,
        )
        self._registry.register(self)

    def text(self) -> str:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry).decode()

    def begin(self, run: RunRecord) -> None:
        """Set the run that the metrics are about."""
        self._run = run

    def job_changed(self, change: JobChange) -> None:
        """Record the duration of an export that has just succeeded."""
        if change.after is JobState.SUCCEEDED and change.job.accepted_at is not None:
            self._took.observe(max(0.0, self._now() - change.job.accepted_at))

    def end(self, exit_code: int) -> None:
        """Record how the run ended."""
        self._ended = (self._now(), exit_code)
        if exit_code == 0:
            self._last_success_at = self._ended[0]

    def describe(self) -> Sequence[Metric]:
        """Nothing: registering must not read the state file."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The current value of every metric except the histogram."""
        snapshot = self._snapshot()
        yield _jobs(snapshot)
        yield _bytes(snapshot)
        yield _gauge(
            "servers_down", "Servers stopped for exports and not restarted yet", snapshot.servers_down
        )
        yield _gauge(
            "copies_unreleased",
            "Snapshots and temporary volumes that are not deleted yet",
            snapshot.copies,
        )
        yield _gauge("exports_stalled", "Exports past their deadline", snapshot.stalled)
        if snapshot.deliveries is not None:
            yield from _deliveries(snapshot.deliveries)
        yield from self._traffic(snapshot)
        yield from self._course()

    def _traffic(self, snapshot: Snapshot) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "batchexport_http_requests",
            "Requests sent, by HTTP status; none = no response",
            labels=["code"],
        )
        clouds = {key: cloud for key, cloud in self._clouds.items() if isinstance(cloud, CountedCloud)}
        by_status = sum((Counter(cloud.traffic.by_status) for cloud in clouds.values()), Counter[int]())
        for status, count in sorted(by_status.items()):
            requests.add_metric([str(status or "none")], count)
        yield requests
        throttled = sum(cloud.traffic.throttled for cloud in clouds.values())
        words = "Responses by which the cloud asked for fewer requests"
        yield CounterMetricFamily("batchexport_throttled", words, value=throttled)
        limit = GaugeMetricFamily(
            "batchexport_requests_per_second_limit", "Rate allowed now; 0 = unlimited", labels=_TARGET
        )
        for target, cloud in clouds.items():
            limit.add_metric(_labels(target, snapshot), cloud.requests_per_second)
        yield limit

    def _course(self) -> Iterator[Metric]:
        if self._run is not None:
            info = GaugeMetricFamily(
                "batchexport_run_info",
                "The run that all other metrics are about",
                labels=["run_id", "list_name", "job", "host"],
            )
            info.add_metric([self._run.run_id, self._run.list_name, self._job, self._host], 1)
            yield info
        yield _gauge("run_started_timestamp_seconds", "When this process started", self._started_at)
        if self._ended is not None:
            ended_at, exit_code = self._ended
            yield _gauge("run_ended_timestamp_seconds", "When this process ended its work", ended_at)
            yield _gauge("run_exit_code", "Its exit code: 0 = every row succeeded or was skipped", exit_code)
        if self._last_success_at is not None:
            words = "When a run last ended with exit code 0"
            yield _gauge("last_success_timestamp_seconds", words, self._last_success_at)


def _jobs(snapshot: Snapshot) -> Metric:
    family = GaugeMetricFamily("batchexport_jobs", "Rows of the list, by state", labels=["state", *_TARGET])
    tallies = snapshot.tallies
    counts = {(tally.target, tally.state): tally.jobs for tally in tallies}
    for target in dict.fromkeys(tally.target for tally in tallies):
        for state in JobState:
            family.add_metric([state.value, *_labels(target, snapshot)], counts.get((target, state), 0))
    return family


def _bytes(snapshot: Snapshot) -> Metric:
    family = CounterMetricFamily("batchexport_exported_bytes", "Size of the volumes exported", labels=_TARGET)
    tallies = snapshot.tallies
    for target in dict.fromkeys(tally.target for tally in tallies):
        gib = sum(
            tally.gib for tally in tallies if tally.target == target and tally.state is JobState.SUCCEEDED
        )
        family.add_metric(_labels(target, snapshot), gib * BYTES_PER_GIB)
    return family


def _deliveries(deliveries: Mapping[DeliveryState, tuple[int, int]]) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "batchexport_deliveries", "Deliveries of images that are complete, by state", labels=["state"]
    )
    for state in DeliveryState:
        family.add_metric([state.value], deliveries.get(state, (0, 0))[0])
    yield family
    words = "Size of what was delivered and verified"
    size = deliveries.get(DeliveryState.DELIVERED, (0, 0))[1]
    yield CounterMetricFamily("batchexport_delivered_bytes", words, value=size)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"batchexport_{name}", words, value=value)


def _labels(target: TargetKey, snapshot: Snapshot) -> list[str]:
    """Cloud, region and project as authentication found them; before it, as the list names them."""
    identity = snapshot.identities.get(target)
    if identity is None:
        return [part or "" for part in target]
    return [identity.cloud or "", identity.region or "", identity.project or ""]


log = logging.getLogger(__name__)

_LAST_SUCCESS = "batchexport_last_success_timestamp_seconds"


class MetricsFile:
    """A metrics file for node_exporter's textfile collector, complete at every moment.

    A failed write is logged once and retried at each update.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warned = False

    def last_success_at(self) -> float | None:
        """When a run last succeeded according to the existing file; None = never, or not known."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            found = [line.split()[1] for line in lines if line.startswith(f"{_LAST_SUCCESS} ")]
            return float(found[0]) if found else None
        except (OSError, ValueError, IndexError) as error:
            if not isinstance(error, FileNotFoundError):
                log.warning(
                    "the time of the last success is not known: cannot read %s: %s",
                    self.path,
                    error,
                    extra={"action": "metrics_unreadable", "path": str(self.path), "error": str(error)},
                )
            return None

    def write(self, metrics: RunMetrics) -> None:
        """Replace the file by the current metrics."""
        self.write_text(metrics.text())

    def write_text(self, text: str) -> None:
        """Replace the file by this text. Safe to call in a thread."""
        try:
            # 0644 whatever the umask: the collector is another user. No wait: a pipe without a reader must
            # not hold up the run.
            write_whole(self.path, [text], mode=0o644, wait=False)
            self._warned = False
        except OSError as error:
            if not self._warned:
                log.warning(
                    "cannot write the metrics to %s: %s",
                    self.path,
                    error.strerror,
                    extra={"action": "metrics_unwritable", "path": str(self.path), "error": error.strerror},
                )
            self._warned = True
