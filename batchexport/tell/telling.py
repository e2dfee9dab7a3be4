"""All that is told of the runs of one process: while they go, when each ends, and when the process does."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from batchexport.config.outputs import Notify, Reports
from batchexport.engine import Cloud, Connect
from batchexport.errors import ConfigError, StateError
from batchexport.model import Ending, Job, JobState, TargetKey
from batchexport.report.totals import Totals
from batchexport.report.words import title_of
from batchexport.store import StateReader
from batchexport.tell.address import Address
from batchexport.tell.clouds import noting
from batchexport.tell.events import EventLog, EventStream
from batchexport.tell.message import GOOD_CODES, message_on
from batchexport.tell.metrics import RunMetrics, Standing
from batchexport.tell.metrics_file import MetricsFile
from batchexport.tell.metrics_server import metrics_served
from batchexport.tell.notices import tell_end, tell_start
from batchexport.tell.outcome import Outcome, with_state
from batchexport.tell.report_files import write_reports

log = logging.getLogger(__name__)

#: How often the metrics file is written and the rates are looked at; scrapers come about as often.
TICK_S = 15.0


class Telling:
    """Whom to tell is given; who is None is not told."""

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
        self._notes = notes  # what else is to be known at the end; more may come meanwhile
        self._say = say
        self._now = now
        self._began_at = now()
        self._clouds: dict[TargetKey, Cloud] = {}
        self._metrics: RunMetrics | None = None
        if self._file is not None or metrics_address is not None:
            last_success_at = self._file.last_success_at() if self._file else None
            self._metrics = RunMetrics(
                self._current_standing,
                self._clouds,
                last_success_at=last_success_at,
                job=name,
                host=socket.gethostname(),
                now=now,
            )
        self._reader: StateReader | None = None  # while a run goes on
        self._standing = Standing()  # as last read
        self._rates: dict[TargetKey, float] = {}
        self._state_path: Path | None = None
        self._written: Sequence[Path] = ()
        self._start_told = False
        self._failed: set[str] = set()  # what could not be told

    @asynccontextmanager
    async def during(self, state_path: Path) -> AsyncIterator[None]:
        """Tell of the run while the context lasts; what cannot be told is a warning."""
        async with AsyncExitStack() as stack:
            self._begin(stack.enter_context(StateReader(state_path)), state_path)
            stack.callback(self._let_go)
            await self._serve_metrics(stack)
            tasks = [asyncio.ensure_future(self._tick())]
            if self._notify is not None and not self._start_told:
                self._start_told = True
                tasks.append(asyncio.ensure_future(tell_start(self._notify)))
            try:
                yield
            finally:
                await _cancelled(tasks)

    def change(self, job: Job, before: JobState, after: JobState, ending: Ending | None) -> None:
        """Tell of one row that went from one state to another."""
        self._safely("a change", lambda: self._tell_change(job, before, after, ending))

    def seeing(self, connect: Connect) -> Connect:
        """The same connections, with an eye on what goes over them."""
        return noting(connect, self._clouds)

    def run_ended(self, state_path: Path, exit_code: int, error: str | None) -> None:
        """Tell how one run ended, and write its reports."""
        self._state_path = state_path
        totals = Totals.of(self._standing.tallies) if self._standing.tallies else None
        self._safely("the end", lambda: self._tell_ended(exit_code, error, totals))
        self._safely("the report", lambda: self._write_reports(state_path))

    def is_about(self, state_path: Path) -> None:
        """Tell at the end of this run, if another was worked on last."""
        if self._state_path not in (None, state_path):
            self._state_path = state_path
            self._safely("the report", lambda: self._write_reports(state_path))

    def end(self, exit_code: int, error: str | None) -> None:
        """Tell those who are told once how it all ended. A command that did nothing on purpose is silent."""
        if self._state_path is None:
            if exit_code in GOOD_CODES:
                return
            self._safely("the end", lambda: self._tell_ended(exit_code, error, None))
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
            notify, message = self._notify, message_on(outcome)
            self._safely("the end", lambda: asyncio.run(tell_end(notify, message)))

    def _begin(self, reader: StateReader, state_path: Path) -> None:
        self._reader, self._state_path = reader, state_path
        self._name = self._name or title_of(reader.run.list_name)
        if self._events is not None:
            self._events.run_started(reader.run, Totals.of(reader.tallies()), str(state_path))
        if self._metrics is not None:
            self._metrics.begin(reader.run)
        self._look()

    async def _serve_metrics(self, stack: AsyncExitStack) -> None:
        if self._address is None or self._metrics is None:
            return
        try:
            address = await stack.enter_async_context(metrics_served(self._address, self._metrics))
        except ConfigError as error:
            if str(error) not in self._failed:
                log.warning("%s; the run goes on without (%s)", error, error.hint)
            self._failed.add(str(error))
        else:
            self._say(f"metrics: http://{address}/metrics")

    def _let_go(self) -> None:
        self._current_standing()
        self._reader = None

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._safely("the figures", self._look_at_rates)
            if self._file is not None and self._metrics is not None:
                # A slow disk must not hold the run up.
                await asyncio.to_thread(self._file.put, self._metrics.text())

    def _look(self) -> None:
        """Write the metrics file, and tell of rates that changed."""
        if self._file is not None and self._metrics is not None:
            self._file.write(self._metrics)
        self._look_at_rates()

    def _look_at_rates(self) -> None:
        for target, cloud in self._clouds.items():
            rate = cloud.requests_per_second
            if self._events is not None and rate != self._rates.get(target):
                self._events.rate_changed(target, rate)
            self._rates[target] = rate

    def _safely(self, what: str, tell: Callable[[], None]) -> None:
        """Tell something. Whatever is wrong with that, it must not end a run that is well: told once."""
        try:
            tell()
        except Exception as error:
            if what not in self._failed:
                log.warning("%s could not be told: %s: %s", what, type(error).__name__, error)
            self._failed.add(what)

    def _tell_change(self, job: Job, before: JobState, after: JobState, ending: Ending | None) -> None:
        if self._metrics is not None:
            self._metrics.job_changed(job, before, after, ending)
        if self._events is not None and self._reader is not None:
            place = self._reader.place_of(job.job_id)
            name = self._reader.volume_names([job.volume_id]).get(job.volume_id)
            self._events.job_changed(job, before, after, ending, place, name)

    def _write_reports(self, state_path: Path) -> None:
        self._written = write_reports(state_path, self._reports, now=self._now())

    def _current_standing(self) -> Standing:
        """How the state file stands; as read last where it cannot be read, or is done with."""
        if self._reader is not None:
            try:
                self._standing = Standing(
                    tallies=self._reader.tallies(),
                    servers_down=len(self._reader.servers()),
                    stalled=self._reader.stalled(self._now()),
                    identities=self._reader.identities(),
                )
            except StateError as error:
                log.debug("the state file could not be read for others: %s", error)
        return self._standing

    def _tell_ended(self, exit_code: int, error: str | None, totals: Totals | None) -> None:
        if self._events is not None:
            self._events.run_ended(exit_code, error, totals)
        if self._metrics is not None:
            self._metrics.end(exit_code)
            self._look()


async def _cancelled(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
