"""Metrics of a run, in the text form that Prometheus reads. Rows and bytes are those of the state file."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from batchexport.identity import CloudIdentity
from batchexport.model import Ending, Job, JobState, TargetKey
from batchexport.store import RunRecord, Tally

#: From half a minute to half a day, each about twice the one before it.
EXPORT_BUCKETS_S = (30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200)
BYTES_PER_GIB = 1024**3
_TARGET = ("cloud", "region", "project")


class TrafficCounts(Protocol):
    """Requests by their answer; 0 stands for none."""

    @property
    def by_status(self) -> Mapping[int, int]: ...
    @property
    def throttled(self) -> int: ...


@runtime_checkable
class CountedCloud(Protocol):
    """A client that counts what it sends."""

    @property
    def requests_per_second(self) -> float: ...
    @property
    def traffic(self) -> TrafficCounts: ...


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the state file says at a moment."""

    tallies: Sequence[Tally] = ()
    servers_down: int = 0
    stalled: int = 0
    identities: Mapping[TargetKey, CloudIdentity] = msgspec.field(default_factory=dict)


class RunMetrics(Collector):
    """What there is to know of one run, gathered anew for each reader.

    `clouds` are the clients of the targets, which are also read after they were closed; those that do not
    count what they send are passed over.
    """

    def __init__(
        self,
        standing: Callable[[], Standing],
        clouds: Mapping[TargetKey, object],
        *,
        last_success_at: float | None = None,
        job: str = "",
        host: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._standing = standing
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
        """All of it, as a page for a scraper or a file for a collector."""
        return generate_latest(self._registry).decode()

    def begin(self, run: RunRecord) -> None:
        """Which run this is about."""
        self._run = run

    def job_changed(self, job: Job, before: JobState, after: JobState, ending: Ending | None) -> None:
        """Note how long an export took that has just succeeded."""
        if after is JobState.SUCCEEDED and job.accepted_at is not None:
            self._took.observe(max(0.0, self._now() - job.accepted_at))

    def end(self, exit_code: int) -> None:
        """Note how the run ended."""
        self._ended = (self._now(), exit_code)
        if exit_code == 0:
            self._last_success_at = self._ended[0]

    def describe(self) -> Sequence[Metric]:
        """Nothing: what there is depends on the moment, and registering must not read the state file."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric but the histogram, as it is now."""
        standing = self._standing()
        yield _jobs(standing)
        yield _bytes(standing)
        yield _gauge("servers_down", "Servers stopped for exports that are not up", standing.servers_down)
        yield _gauge("exports_stalled", "Exports past their deadline", standing.stalled)
        yield from self._traffic(standing)
        yield from self._course()

    def _traffic(self, standing: Standing) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "batchexport_http_requests",
            "Requests sent, by HTTP status; none = no answer came",
            labels=["code"],
        )
        clouds = {key: cloud for key, cloud in self._clouds.items() if isinstance(cloud, CountedCloud)}
        by_status = sum((Counter(cloud.traffic.by_status) for cloud in clouds.values()), Counter[int]())
        for status, count in sorted(by_status.items()):
            requests.add_metric([str(status or "none")], count)
        yield requests
        throttled = sum(cloud.traffic.throttled for cloud in clouds.values())
        words = "Answers by which the cloud asked for fewer requests"
        yield CounterMetricFamily("batchexport_throttled", words, value=throttled)
        limit = GaugeMetricFamily(
            "batchexport_requests_per_second_limit", "Rate allowed now; 0 = not limited", labels=_TARGET
        )
        for target, cloud in clouds.items():
            limit.add_metric(_labels(target, standing), cloud.requests_per_second)
        yield limit

    def _course(self) -> Iterator[Metric]:
        if self._run is not None:
            info = GaugeMetricFamily(
                "batchexport_run_info",
                "The run that the others are about",
                labels=["run_id", "list_name", "job", "host"],
            )
            info.add_metric([self._run.run_id, self._run.list_name, self._job, self._host], 1)
            yield info
        yield _gauge("run_started_timestamp_seconds", "When this process began", self._started_at)
        if self._ended is not None:
            ended_at, exit_code = self._ended
            yield _gauge("run_ended_timestamp_seconds", "When this process ended its work", ended_at)
            yield _gauge("run_exit_code", "How it ended: 0 = every row succeeded or was skipped", exit_code)
        if self._last_success_at is not None:
            words = "When a run last ended with exit code 0"
            yield _gauge("last_success_timestamp_seconds", words, self._last_success_at)


def _jobs(standing: Standing) -> Metric:
    family = GaugeMetricFamily("batchexport_jobs", "Rows of the list, by state", labels=["state", *_TARGET])
    tallies = standing.tallies
    counts = {(tally.target, tally.state): tally.jobs for tally in tallies}
    for target in dict.fromkeys(tally.target for tally in tallies):
        for state in JobState:
            family.add_metric([state.value, *_labels(target, standing)], counts.get((target, state), 0))
    return family


def _bytes(standing: Standing) -> Metric:
    family = CounterMetricFamily("batchexport_exported_bytes", "Size of the volumes exported", labels=_TARGET)
    tallies = standing.tallies
    for target in dict.fromkeys(tally.target for tally in tallies):
        gib = sum(
            tally.gib for tally in tallies if tally.target == target and tally.state is JobState.SUCCEEDED
        )
        family.add_metric(_labels(target, standing), gib * BYTES_PER_GIB)
    return family


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"batchexport_{name}", words, value=value)


def _labels(target: TargetKey, standing: Standing) -> list[str]:
    """Cloud, region and project as sign-in found them; before it, as the list names them."""
    identity = standing.identities.get(target)
    if identity is None:
        return [part or "" for part in target]
    return [identity.cloud or "", identity.region or "", identity.project or ""]
