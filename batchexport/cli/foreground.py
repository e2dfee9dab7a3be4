"""Working on a state file in the foreground: signals, progress, summary, exit code."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial

from batchexport.app import run_in_loop
from batchexport.app.allowance import Allowance, throughput_of
from batchexport.app.control import Answer, RunControl
from batchexport.app.run import Observed, RunOutcome, outcome_of, work
from batchexport.app.run_hooks import run_hooks
from batchexport.cli.console import TerminalConsole, err, out_or_err
from batchexport.cli.logs import start_log
from batchexport.cli.observe_run import instrument, observe_run
from batchexport.cli.progress import Meter, progress_for, shown
from batchexport.cli.screen import Screen, leave_at_once, unblocked_stderr
from batchexport.cli.signals import Stop, stop_on_signals
from batchexport.config import CloudSettings, Settings
from batchexport.engine import Cloud, Connect
from batchexport.errors import CloudError, RunStoppedError
from batchexport.model import JobState, TargetKey
from batchexport.observe.run_observer import remember_clouds
from batchexport.report.status import summary_text
from batchexport.scheduling.throughput import OpenHours
from batchexport.store import StoreRef, stores


def execute(
    state_path: StoreRef,
    settings: Settings,
    access: CloudSettings,
    console: TerminalConsole,
    *,
    again: Collection[JobState] = (),
    hours: OpenHours | None = None,
    watch: bool = True,
    allowance: Allowance | None = None,
) -> int:
    """`app.run.work` with signals, progress and summary; the exit code.

    `allowance` is that of the night which this is a part of; None = it is all of what the settings allow.
    """
    start_log(console)
    allowance = allowance or Allowance.of(settings.limits)
    hours = allowance.hours(hours, None if allowance.ends_at is None else throughput_of(state_path))
    started = time.monotonic()
    with observe_run(state_path, console) as ending:
        with run_hooks(settings.hooks, state_path) as hooked:
            try:
                work_on = _work(state_path, settings, access, console, again, hours, watch, allowance)
                stop, hooked.failed_row_hooks = run_in_loop(work_on)
            except (RunStoppedError, CloudError):
                _sum_up(state_path, settings, access, console, started)
                raise
            outcome = _sum_up(
                state_path,
                settings,
                access,
                console,
                started,
                stop=stop,
                in_window=hours is not None or allowance.is_limited,
            )
            hooked.exit_code = outcome.exit_code
        ending.exit_code = hooked.exit_code
    return ending.exit_code


async def _work(
    state_path: StoreRef,
    settings: Settings,
    access: CloudSettings,
    console: TerminalConsole,
    again: Collection[JobState],
    hours: OpenHours | None,
    watch: bool,
    allowance: Allowance,
) -> tuple[Stop, int]:
    with unblocked_stderr(console) as screen, stop_on_signals(err, leave=leave_at_once) as stop:
        controls: list[RunControl] = []
        failed_hooks = await work(
            state_path,
            settings,
            access,
            console,
            stop=stop.event,
            observe=partial(_observe, state_path, console, screen, controls),
            again=again,
            hours=hours,
            watch=watch,
            budget=allowance.budget,
            on_drain=stop.drain,
            on_control=controls.append,
        )
    return stop, failed_hooks


@asynccontextmanager
async def _observe(
    state_path: StoreRef,
    console: TerminalConsole,
    screen: Screen,
    controls: Sequence[RunControl],
    connect: Connect,
) -> AsyncIterator[Observed]:
    """The run with its sinks and its progress."""
    clouds: dict[TargetKey, Cloud] = {}

    def standing() -> Answer:
        return controls[0].standing if controls else Answer()

    async with instrument(state_path, console, connect) as observed:
        # Closed before the work on the file is: only the last connection takes away what stands beside it.
        with (
            stores.read(state_path) as reader,
            shown(progress_for(Meter(reader, clouds, standing=standing), console, screen)),
        ):
            yield observed._replace(connect=remember_clouds(observed.connect, clouds))


def _sum_up(
    state_path: StoreRef,
    settings: Settings,
    access: CloudSettings,
    console: TerminalConsole,
    started: float,
    *,
    stop: Stop | None = None,
    in_window: bool = False,
) -> RunOutcome:
    """What the run came to, which is printed."""
    with stores.read(state_path) as reader:
        stopped = stop.exit_code if stop else None
        outcome = outcome_of(reader, stopped=stopped, wait=settings.wait, in_window=in_window)
        if not console.quiet:
            took_s = time.monotonic() - started
            show = err if console.sinks.stdout_is_taken else out_or_err
            show(summary_text(reader, state_path, cloud=access.cloud, took_s=took_s))
    return outcome
