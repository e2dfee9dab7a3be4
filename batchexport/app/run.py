"""Work on a state file until it is done, told to stop, or its window has closed."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from batchexport import engine, nightly_runs
from batchexport.app.connections import connections
from batchexport.app.console import Console
from batchexport.app.control import RunControl, controlled
from batchexport.app.run_deliveries import deliveries_of, progress_told
from batchexport.changes import JobChange
from batchexport.cloud.http.rate_limiter import RateLimiter
from batchexport.config import CloudSettings, InUse, ServerStops, Settings
from batchexport.deliveries import DeliveryChanged, DeliveryCounts
from batchexport.engine import Connect, OnChange
from batchexport.errors import BatchExportError, ConfigError, RunStoppedError
from batchexport.model import JobState
from batchexport.redaction import redacted
from batchexport.report.text import count_of, duration
from batchexport.report.totals import Totals
from batchexport.scheduling.throughput import OpenHours
from batchexport.store import ProcessEnd, Reader, RunRecord, StoreRef, count_deliveries, stores

log = logging.getLogger(__name__)

#: "Temporary failure" in sysexits.h: there is work left, and the next night resumes it.
WINDOW_CLOSED = 75
#: Somebody has to look at it: rows that failed or are ambiguous, images in doubt, servers that are down.
NEEDS_ATTENTION = 3
#: Another process works on the state file, or it cannot be used or written.
_NOT_AT_WORK = frozenset({4, 5, 74})
#: How often the wall clock is read: it may be set, and the machine may have slept.
LOOK_EVERY_S = 30.0
#: How often a run that only sends looks whether a row is still pending.
SENT_LOOK_S = 5.0
#: Rows that have not moved for this long will not soon: they do not fit, or their volumes are stuck.
STILL_S = 600.0
#: Settings that say how servers are stopped, and their options.
_STOP_OPTIONS = {
    "hard_stop": "--hard-stop",
    "max_down": "--max-servers-down",
    "stop_timeout_s": "--stop-timeout",
}


class Observed(NamedTuple):
    """The connections of a run, and who is called on each change, which is on disk or on its way there."""

    connect: Connect
    on_change: OnChange | None = None
    on_delivery: Callable[[DeliveryChanged], object] | None = None


Observe = Callable[[Connect], AbstractAsyncContextManager[Observed]]


@asynccontextmanager
async def unobserved(connect: Connect) -> AsyncIterator[Observed]:
    """A run without an observer."""
    yield Observed(connect)


class RunOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to that no error ended."""

    totals: Totals
    suspect: int  #: images that are not known to be whole: short ones, or copied from a server that ran
    servers_down: int  #: servers that the run stopped and that are not up again
    copies_left: int  #: snapshots and temporary volumes that the run made and that are not deleted
    undelivered: int  #: rows that are exported, and not everywhere they are to go
    exit_code: int


async def work(
    state_path: StoreRef,
    settings: Settings,
    access: CloudSettings,
    console: Console,
    *,
    stop: asyncio.Event,
    observe: Observe = unobserved,
    again: Collection[JobState] = (),
    hours: OpenHours | None = None,
    watch: bool = True,
    budget: engine.GibBudget | None = None,
    on_drain: Callable[[], object] | None = None,
    on_control: Callable[[RunControl], object] | None = None,
) -> int:
    """Work on a state file until it is done, `stop` is set, or its hours are over.

    Rows in the states of `again` are tried again first. Without `watch` it ends once no row is pending, or
    none has moved for some minutes: the rest is watched later. Nothing begins beyond the
    `budget`. `on_drain` is called when `ctl` asks for that, and is to set `stop`; `on_control` is given what
    can be asked of the run. After `stop`, what was sent gets its answer, and servers are started. Returns how
    many hooks failed after their row had ended. Raises BatchExportError for what ends a run early.
    """
    await confirm_stops(state_path, settings)
    warn_of_idle_options(state_path, settings, console)
    deliveries = None
    # Where it ends once everything is sent, or only looks and releases, streams would be cut off at once.
    if settings.wait and watch and (hours is None or hours.closes_at > 0.0):
        retry_failed = JobState.FAILED in again
        deliveries = await deliveries_of(state_path, settings, access, hours=hours, retry_failed=retry_failed)
    transfers = 2 * settings.deliveries.max_transfers if deliveries else 0
    limits = replace(settings.limits, concurrency=settings.limits.concurrency + transfers)
    async with stores.open_for_work(state_path) as state:
        keys = [target.key for target in state.targets]
        max_gib_at = None if hours is None else hours.max_gib_at
        controls = engine.Controls(settings, max_gib_at=max_gib_at, budget=budget)
        limiters: list[RateLimiter] = []
        rate = settings.limits.requests_per_second
        control = RunControl(controls, limiters, requests_per_second=rate, drain=on_drain or stop.set)
        if on_control is not None:
            on_control(control)
        async with (
            connections(keys, access, limits, state_path=state_path, stop=stop, limiters=limiters) as plain,
            controlled(state_path, control),
            closing(hours, stop, console),
            sending_only(None if watch else state_path, stop),
            progress_told(deliveries, console),
            observe(plain) as (connect, on_change, on_delivery),
        ):
            if deliveries is not None:
                deliveries = replace(deliveries, on_change=on_delivery)
            return await engine.run(
                state,
                connect,
                settings,
                stop=stop,
                on_change=_counted(budget, state.run.run_id, on_change),
                controls=controls,
                again=frozenset(again),
                others=() if settings.export_again else nightly_runs.other_stores(state_path),
                deliveries=deliveries,
            )


def _counted(budget: engine.GibBudget | None, run_id: str, on_change: OnChange | None) -> OnChange | None:
    """Who is told of changes: the observer, and the budget where there is one."""
    if budget is None:
        return on_change

    def told(change: JobChange) -> None:
        budget.note(run_id, change)
        if on_change is not None:
            on_change(change)

    return told


def outcome_of(reader: Reader, *, stopped: int | None, wait: bool, in_window: bool = False) -> RunOutcome:
    """What the rows come to; `stopped` is the exit code of a signal, where one came."""
    overview = reader.overview()
    totals, servers_down = Totals.of(overview.tallies), len(overview.servers)
    suspect = sum(each.jobs for each in reader.reasons(doubtful=True))
    delivered = count_deliveries(reader)
    code = exit_code(
        totals,
        stopped=stopped,
        wait=wait,
        in_window=in_window,
        unreleased=len(overview.resources),
        suspect=suspect,
        delivered=delivered,
    )
    return RunOutcome(
        totals=totals,
        suspect=suspect,
        servers_down=servers_down,
        copies_left=len(overview.copies),
        undelivered=delivered.rows_undelivered if delivered else 0,
        exit_code=code,
    )


def exit_code(
    totals: Totals,
    *,
    stopped: int | None,
    wait: bool,
    in_window: bool = False,
    unreleased: int = 0,
    suspect: int = 0,
    delivered: DeliveryCounts | None = None,
) -> int:
    """The exit code of a run that no error ended; `stopped` is the code of a signal, where one came."""
    delivered = delivered or DeliveryCounts()
    if unreleased:
        return NEEDS_ATTENTION
    if (totals.to_do or delivered.open) and stopped is not None:
        return stopped
    if (totals.to_do or delivered.open) and in_window:
        return WINDOW_CLOSED
    if totals.to_do and wait:
        return RunStoppedError.exit_code
    needs_attention = totals.rows[JobState.FAILED] or totals.rows[JobState.AMBIGUOUS] or suspect
    undelivered = delivered.failed or delivered.undropped or (wait and delivered.open)
    return NEEDS_ATTENTION if needs_attention or undelivered else 0


def record_end(
    state_path: StoreRef, *, began_at: float, exit_code: int, error: str | None, job: str | None
) -> None:
    """Record in the state file how the work on it ended; not where it could not be worked on at all."""
    if exit_code in _NOT_AT_WORK:
        return
    end = ProcessEnd(
        began_at=began_at,
        ended_at=time.time(),
        exit_code=exit_code,
        error=None if error is None else redacted(error),
        host=socket.gethostname(),
        job=job,
    )
    try:
        stores.note_end(state_path, end)
    except BatchExportError as unwritten:
        log.debug("could not record how the run ended: %s", unwritten, extra={"action": "record_end"})


async def confirm_stops(state_path: StoreRef, settings: Settings) -> None:
    """Note in the state file that servers may be stopped for its rows; nothing where none would be.

    Raises ConfigError without consent.
    """
    with stores.read(state_path) as reader:
        (rows, waiting), run = reader.rows_that_stop(settings.in_use), reader.run
    if not rows:
        return
    if not settings.wait:
        raise ConfigError(
            "--no-wait cannot be combined with stopping servers: they would not be started again",
            hint="leave out --no-wait, or choose another --in-use",
        )
    if _covers(run, settings):
        return
    if not settings.server_stops.agreed:
        raise ConfigError(
            f"servers may be stopped for {count_of(waiting or rows, 'row')} of {run.list_name},"
            " and nobody has consented",
            hint='--yes consents, or a job file with [servers] in_use = "stop"; `batchexport plan` shows'
            " which servers",
        )
    async with stores.open_for_work(state_path) as state:
        await state.agree(settings.in_use)


def warn_of_idle_options(state_path: StoreRef, settings: Settings, console: Console) -> None:
    """Warn of options on how servers are stopped where none is stopped: somebody thinks they are."""
    idle = [name for field, name in _STOP_OPTIONS.items() if _differs(settings.server_stops, field)]
    if not idle or settings.in_use is InUse.STOP:
        return
    with stores.read(state_path) as reader:
        if reader.run.stop_rows:
            return
    verb = "has" if len(idle) == 1 else "have"
    console.warning(
        f"{' and '.join(idle)} {verb} no effect: no server is stopped, for --in-use is"
        f" {settings.in_use} and no row has in_use stop"
    )


def _differs(stops: ServerStops, field: str) -> bool:
    return bool(getattr(stops, field) != getattr(ServerStops(), field))


def _covers(run: RunRecord, settings: Settings) -> bool:
    """Whether what was agreed to earlier is all that these settings ask for."""
    return run.may_stop and (run.in_use is InUse.STOP or settings.in_use is not InUse.STOP)


@asynccontextmanager
async def sending_only(state_path: StoreRef | None, stop: asyncio.Event) -> AsyncIterator[None]:
    """Sets `stop` once no row of the state file is pending, or nothing has moved for ten minutes; never where
    it is None.
    """
    if state_path is None:
        yield
        return
    task = asyncio.create_task(_stop_when_sent(state_path, stop))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _stop_when_sent(state_path: StoreRef, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    last, moved_at = None, loop.time()
    with stores.read(state_path) as reader:
        while True:
            await asyncio.sleep(SENT_LOOK_S)
            rows = {(tally.target, tally.state): tally.jobs for tally in reader.overview().tallies}
            if rows != last:
                last, moved_at = rows, loop.time()
            if not any(state is JobState.PENDING for _, state in rows) or loop.time() - moved_at >= STILL_S:
                stop.set()
                return


@asynccontextmanager
async def closing(
    hours: OpenHours | None, stop: asyncio.Event, console: Console, *, now: Callable[[], float] = time.time
) -> AsyncIterator[None]:
    """Sets `stop` when the time to watch is over, as long as the context lasts; never where hours is None."""
    if hours is None:
        yield
        return
    # No task group: it would wrap the error that ends the run.
    task = asyncio.create_task(_close(hours, stop, console, now))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _close(hours: OpenHours, stop: asyncio.Event, console: Console, now: Callable[[], float]) -> None:
    if hours.closes_at == 0.0:  # it was never open for this run; the caller has said why
        if not await _stopped_before(hours.watched_until, stop, now):
            stop.set()
        return
    if await _stopped_before(hours.closes_at, stop, now):
        return
    grace_s = hours.watched_until - now()
    if grace_s > 0:
        console.notice(
            f"{_over(hours)}: no more exports start; running ones are watched for {duration(grace_s)}"
        )
    if not await _stopped_before(hours.watched_until, stop, now):
        is_window = hours.limit == OpenHours.__struct_defaults__[-1]
        what = "the grace period is over" if is_window else _over(hours)
        when = "when the window opens again" if is_window else "by the next run"
        console.notice(f"{what}: running exports are checked {when}")
        stop.set()


def _over(hours: OpenHours) -> str:
    return f"{hours.limit} is {'closed' if hours.limit == 'the window' else 'over'}"


async def _stopped_before(at: float, stop: asyncio.Event, now: Callable[[], float]) -> bool:
    """Wait until this time; whether the run was asked to stop before it."""
    while (left_s := at - now()) > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), min(left_s, LOOK_EVERY_S))
            return True
    return False
