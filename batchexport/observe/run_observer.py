"""Observes the runs of one process: while they go on, when each ends, and when the process does."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from batchexport.changes import JobChange
from batchexport.config.outputs import Notify, Reports
from batchexport.deliveries import DeliveryChanged
from batchexport.engine import Cloud, Connect
from batchexport.errors import ConfigError, StateError
from batchexport.files import write_whole
from batchexport.model import TargetKey
from batchexport.observe.events import EventLog, EventStream
from batchexport.observe.message import GOOD_CODES, Outcome, message_for, with_state
from batchexport.observe.metrics import MetricsFile, RunMetrics, Snapshot
from batchexport.observe.metrics_server import Address, serve_metrics
from batchexport.observe.notifications import notify_end, notify_start
from batchexport.report.formats import ReportFormat, report_lines
from batchexport.report.text import title_of
from batchexport.report.totals import Totals
from batchexport.store import Reader, StoreRef, stores, tally_deliveries

log = logging.getLogger(__name__)


def remember_clouds(connect: Connect, clouds: MutableMapping[TargetKey, Cloud]) -> Connect:
    """The same connections; each client is put into `clouds`, and stays there after it is closed."""

    @asynccontextmanager
    async def opened(key: TargetKey, learnt: float | None) -> AsyncIterator[Cloud]:
        async with connect(key, learnt) as cloud:
            clouds[key] = cloud
            yield cloud

    def connected(key: TargetKey, learnt: float | None) -> AbstractAsyncContextManager[Cloud]:
        return opened(key, learnt)

    return connected


#: Seconds between updates of the metrics file and the rates; scrapers use about the same interval.
TICK_S = 15.0


class RunObserver:
    """Feeds the sinks of one process: events, metrics, notifications, reports. None = a sink is disabled."""

    def __init__(
        self,
        *,
        name: str = "",
        events: EventStream | None = None,
        events_broken: Callable[[], object] | None = None,
        metrics_file: Path | None = None,
        metrics_address: Address | None = None,
        notify: Notify | None = None,
        reports: Reports | None = None,
        notes: Sequence[str] = (),
        say: Callable[[str], None] = lambda text: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._events = None if events is None else EventLog(events, broken=events_broken, now=now)
        self._file = None if metrics_file is None else MetricsFile(metrics_file)
        self._address = metrics_address
        self._notify = notify
        self._reports = reports or Reports()
        self._notes = notes  # included in the final message; the caller may add more meanwhile
        self._say = say
        self._now = now
        self._began_at = now()
        self._clouds: dict[TargetKey, Cloud] = {}
        self._metrics: RunMetrics | None = None
        if self._file is not None or metrics_address is not None:
            last_success_at = self._file.last_success_at() if self._file else None
            self._metrics = RunMetrics(
                self._current_snapshot,
                self._clouds,
                last_success_at=last_success_at,
                job=name,
                host=socket.gethostname(),
                now=now,
            )
        self._reader: Reader | None = None  # while a run goes on
        self._snapshot = Snapshot()  # as last read
        self._rates: dict[TargetKey, float] = {}
        self._state_path: StoreRef | None = None
        self._written: Sequence[Path] = ()
        self._start_told = False
        self._failed: set[str] = set()  # what has been logged as failed, once each

    @asynccontextmanager
    async def observing(self, state_path: StoreRef) -> AsyncIterator[None]:
        """Observe the run while the context lasts. Failures of sinks are logged as warnings."""
        async with AsyncExitStack() as stack:
            self._begin(stack.enter_context(stores.read(state_path)), state_path)
            stack.callback(self._detach)
            await self._serve_metrics(stack)
            tasks = [asyncio.ensure_future(self._tick())]
            if self._notify is not None and not self._start_told:
                self._start_told = True
                tasks.append(asyncio.ensure_future(notify_start(self._notify)))
            try:
                yield
            finally:
                await _cancelled(tasks)

    def job_changed(self, change: JobChange) -> None:
        """Report that a row went from one state to another."""
        self._safely("a change", lambda: self._report_change(change))

    def delivery_changed(self, change: DeliveryChanged) -> None:
        """Report that a delivery went from one state to another."""
        self._safely("a delivery", lambda: self._report_delivery(change))

    def instrument(self, connect: Connect) -> Connect:
        """The same connections, observed: their rates and request counts go into events and metrics."""
        return remember_clouds(connect, self._clouds)

    def run_ended(self, state_path: StoreRef, exit_code: int, error: str | None) -> None:
        """Report how one run ended, and write its report files."""
        self._state_path = state_path
        totals = Totals.of(self._snapshot.tallies) if self._snapshot.tallies else None
        self._safely("the end", lambda: self._report_end(exit_code, error, totals))
        self._safely("the report", lambda: self._write_reports(state_path))

    def is_about(self, state_path: StoreRef) -> None:
        """Make the final notification about this run, even if another one was worked on last."""
        if self._state_path not in (None, state_path):
            self._state_path = state_path
            self._safely("the report", lambda: self._write_reports(state_path))

    def end(self, exit_code: int, error: str | None) -> None:
        """Send the final notification. A command that had nothing to do sends none."""
        if self._state_path is None:
            if exit_code in GOOD_CODES:
                return
            self._safely("the end", lambda: self._report_end(exit_code, error, None))
        if self._notify is not None:
            outcome = Outcome(
                name=self._name,
                exit_code=exit_code,
                error=error,
                took_s=self._now() - self._began_at,
                reports=self._written,
            )
            if self._state_path is not None:
                outcome = with_state(outcome, self._state_path)
            notes = [("note", words) for words in self._notes]
            outcome = replace(outcome, facts=[*notes, *outcome.facts])
            notify, message = self._notify, message_for(outcome)
            self._safely("the end", lambda: asyncio.run(notify_end(notify, message)))

    def _begin(self, reader: Reader, state_path: StoreRef) -> None:
        self._reader, self._state_path = reader, state_path
        self._name = self._name or title_of(reader.run.list_name)
        if self._events is not None:
            self._events.run_started(reader.run, reader.overview(), str(state_path))
        if self._metrics is not None:
            self._metrics.begin(reader.run)
        self._update()

    async def _serve_metrics(self, stack: AsyncExitStack) -> None:
        if self._address is None or self._metrics is None:
            return
        try:
            address = await stack.enter_async_context(serve_metrics(self._address, self._metrics))
        except ConfigError as error:
            if str(error) not in self._failed:
                log.warning(
                    "%s; the run continues without metrics (%s)",
                    error,
                    error.hint,
                    extra={"action": "metrics_not_served", "address": str(self._address)},
                )
            self._failed.add(str(error))
        else:
            self._say(f"metrics: http://{address}/metrics")

    def _detach(self) -> None:
        self._current_snapshot()
        self._reader = None

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._safely("the figures", self._report_rates)
            if self._file is not None and self._metrics is not None:
                # A slow disk must not hold up the run.
                await asyncio.to_thread(self._file.write_text, self._metrics.text())

    def _update(self) -> None:
        """Write the metrics file, and report changed rates."""
        if self._file is not None and self._metrics is not None:
            self._file.write(self._metrics)
        self._report_rates()

    def _report_rates(self) -> None:
        for target, cloud in self._clouds.items():
            rate = cloud.requests_per_second
            if self._events is not None and rate != self._rates.get(target):
                self._events.rate_changed(target, rate)
            self._rates[target] = rate

    def _safely(self, what: str, call: Callable[[], None]) -> None:
        """Call a sink. Whatever goes wrong there must not end the run; it is logged once."""
        try:
            call()
        except Exception as error:
            if what not in self._failed:
                log.warning(
                    "%s could not be reported: %s: %s",
                    what,
                    type(error).__name__,
                    error,
                    extra={"action": "sink_failed", "sink": what, "error": str(error)},
                )
            self._failed.add(what)

    def _report_change(self, change: JobChange) -> None:
        job = change.job
        if self._metrics is not None:
            self._metrics.job_changed(change)
        if self._events is not None and self._reader is not None:
            (row,) = self._reader.jobs(job_ids=[job.job_id])
            self._events.job_changed(change, (row.line, row.target), row.volume_name)

    def _report_delivery(self, change: DeliveryChanged) -> None:
        if self._events is not None and self._reader is not None:
            (row,) = self._reader.jobs(job_ids=[change.delivery.job_id])
            self._events.delivery_changed(change, row.target)

    def _write_reports(self, state_path: StoreRef) -> None:
        self._written = write_reports(state_path, self._reports, now=self._now())

    def _current_snapshot(self) -> Snapshot:
        """The state file's figures now; the last ones read, if it cannot be read or is closed."""
        if self._reader is not None:
            try:
                overview = self._reader.overview(now=self._now())
                self._snapshot = Snapshot(
                    tallies=overview.tallies,
                    servers_down=len(overview.servers),
                    copies=len(overview.copies),
                    stalled=overview.stalled,
                    identities=overview.identities,
                    deliveries=tally_deliveries(self._reader),
                )
            except StateError as error:
                log.debug("no new snapshot of the state file: %s", error, extra={"action": "snapshot_failed"})
        return self._snapshot

    def _report_end(self, exit_code: int, error: str | None, totals: Totals | None) -> None:
        if self._events is not None:
            self._events.run_ended(exit_code, error, totals, self._snapshot.identities)
        if self._metrics is not None:
            self._metrics.end(exit_code)
            self._update()


async def _cancelled(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def write_reports(state_path: StoreRef, reports: Reports, *, now: float) -> Sequence[Path]:
    """Write the configured report files; returns those written. Failures are logged as warnings."""
    folder, paths = reports.folder, list[Path]()
    if folder is None:
        return paths
    csv_name = f"{state_path.stem}{ReportFormat.CSV.suffix}" if ReportFormat.CSV in reports.formats else None
    for form in map(ReportFormat, reports.formats):
        path = folder / f"{state_path.stem}{form.suffix}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with stores.read(state_path) as reader:
                write_whole(
                    path, (f"{line}\n" for line in report_lines(reader, form, now=now, csv_name=csv_name))
                )
        except (OSError, StateError) as error:
            log.warning(
                "the report %s could not be written: %s",
                path,
                error,
                extra={"action": "report_unwritten", "path": str(path), "error": str(error)},
            )
        else:
            paths.append(path)
    return paths
