"""Working on a state file in the foreground: signals, progress, practice cloud, summary, exit code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Coroutine
from pathlib import Path
from typing import TypeVar

from batchexport import engine, nightly_runs
from batchexport.cli.closing import closing, sending_only
from batchexport.cli.connections import connections
from batchexport.cli.consent import agree
from batchexport.cli.console import TerminalConsole, err, out_or_err
from batchexport.cli.logs import start_log
from batchexport.cli.observe_run import observe_run, others_see
from batchexport.cli.progress import Meter, progress_for, shown
from batchexport.cli.screen import leave_at_once, unblocked_stderr
from batchexport.cli.signals import Stop, stop_on_signals
from batchexport.config import CloudSettings, Settings
from batchexport.errors import CloudError, RunStoppedError
from batchexport.model import JobState, TargetKey
from batchexport.observe.clouds import remember_clouds
from batchexport.report.status import summary_text
from batchexport.report.totals import Totals
from batchexport.scheduling.throughput import OpenHours
from batchexport.store import StateFile, StateReader

Result = TypeVar("Result")

#: "Temporary failure" in sysexits.h: there is work left, and the next night goes on with it.
WINDOW_CLOSED = 75
#: The same as for failed rows: somebody has to look at it.
SERVERS_DOWN = 3


def execute(
    state_path: Path,
    settings: Settings,
    access: CloudSettings,
    console: TerminalConsole,
    *,
    again: Collection[JobState] = (),
    hours: OpenHours | None = None,
    watch: bool = True,
) -> int:
    """Work on a state file until it is done, told to stop, or out of hours; the exit code.

    Rows in the states of `again` are tried again first. Without `watch` it ends once no row is pending,
    or none has moved for some minutes: the rest is watched later. Raises BatchExportError for what ends a run
    early.
    """
    start_log(console)
    started = time.monotonic()
    with observe_run(state_path, console) as told:
        try:
            stop = run_in_loop(_drive(state_path, settings, access, console, again, hours, watch))
        except (RunStoppedError, CloudError):
            _sum_up(state_path, access, console, started)
            raise
        totals, servers_down = _sum_up(state_path, access, console, started)
        told.exit_code = exit_code(
            totals,
            stopped=stop.exit_code,
            wait=settings.wait,
            in_window=hours is not None,
            servers_down=servers_down,
        )
    return told.exit_code


def exit_code(
    totals: Totals, *, stopped: int | None, wait: bool, in_window: bool = False, servers_down: int = 0
) -> int:
    """The exit code of a run that no error ended; `stopped` is the code of a signal, where one came."""
    if servers_down:
        return SERVERS_DOWN
    if totals.to_do and stopped is not None:
        return stopped
    if totals.to_do and in_window:
        return WINDOW_CLOSED
    if totals.to_do and wait:
        return RunStoppedError.exit_code
    return 3 if totals.rows[JobState.FAILED] or totals.rows[JobState.AMBIGUOUS] else 0


def run_in_loop(main: Coroutine[None, None, Result]) -> Result:
    """The result of `main`, on uvloop where it is installed."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        new_event_loop = None
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


async def _drive(
    state_path: Path,
    settings: Settings,
    access: CloudSettings,
    console: TerminalConsole,
    again: Collection[JobState],
    hours: OpenHours | None,
    watch: bool,
) -> Stop:
    await agree(state_path, settings)
    clouds: dict[TargetKey, engine.Cloud] = {}
    async with StateFile.open(state_path) as state:
        with (
            StateReader(state_path) as reader,
            unblocked_stderr(console) as screen,
            stop_on_signals(err, leave=leave_at_once) as stop,
        ):
            meter = Meter(reader, clouds, max_rate=settings.limits.requests_per_second)
            keys = [target.key for target in state.targets()]
            connected = connections(keys, access, settings.limits, state_path=state_path, stop=stop.event)
            async with (
                connected as plain,
                closing(hours, stop.event),
                sending_only(None if watch else state_path, stop.event),
                others_see(state_path, console, plain) as (connect, on_change),
            ):
                with shown(progress_for(meter, console, screen)):
                    await engine.run(
                        state,
                        remember_clouds(connect, clouds),
                        settings,
                        stop=stop.event,
                        on_change=on_change,
                        max_gib_at=hours.max_gib_at if hours else None,
                        again=frozenset(again),
                        others=() if settings.export_again else nightly_runs.other_state_files(state_path),
                    )
    return stop


def _sum_up(
    state_path: Path, access: CloudSettings, console: TerminalConsole, started: float
) -> tuple[Totals, int]:
    """What the rows come to, and how many servers are not up; both are told."""
    with StateReader(state_path) as reader:
        totals, servers_down = Totals.of(reader.tallies()), len(reader.servers())
        if not console.quiet:
            took_s = time.monotonic() - started
            show = err if console.sinks.stdout_is_taken else out_or_err
            show(summary_text(reader, state_path, cloud=access.cloud, took_s=took_s))
    return totals, servers_down
