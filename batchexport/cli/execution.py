"""Working on a state file in the foreground: signals, progress, practice cloud, summary, exit code."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import click

from batchexport import cloud, engine
from batchexport.cli import practice
from batchexport.cli.figures import Figures
from batchexport.cli.logs import start_log
from batchexport.cli.progress import progress_for, shown
from batchexport.cli.signals import Stop, stop_on_signals
from batchexport.cli.talk import Talk, say
from batchexport.config import CloudSettings, Limits, Settings
from batchexport.engine.ports import Cloud
from batchexport.errors import CloudError, RunStoppedError
from batchexport.gate import RateGate
from batchexport.model import JobState, TargetKey
from batchexport.report.summary import summary_text
from batchexport.report.totals import Totals
from batchexport.store import StateFile, StateReader

Result = TypeVar("Result")


def execute(
    state_path: Path,
    settings: Settings,
    access: CloudSettings,
    talk: Talk,
    *,
    again: Collection[JobState] = (),
) -> int:
    """Work on a state file until it is done or told to stop; the exit code.

    Rows in the states of `again` are tried again first. Raises BatchExportError for what ends a run early.
    """
    start_log(talk)
    started = time.monotonic()
    stop = None
    try:
        stop = run_in_loop(_drive(state_path, settings, access, talk, again))
    except (RunStoppedError, CloudError):
        _sum_up(state_path, talk, took_s=time.monotonic() - started)
        raise
    totals = _sum_up(state_path, talk, took_s=time.monotonic() - started)
    return exit_code(totals, stopped=stop.exit_code, wait=settings.wait)


def exit_code(totals: Totals, *, stopped: int | None, wait: bool) -> int:
    """The exit code of a run that was not ended by an error; `stopped` is the code of the signal, if one came."""
    if totals.to_do and stopped is not None:
        return stopped
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
    state_path: Path, settings: Settings, access: CloudSettings, talk: Talk, again: Collection[JobState]
) -> Stop:
    async with StateFile.open(state_path) as state:
        if again:
            rows = await state.retry(states=frozenset(again))
            say(f"{rows} rows are tried again")
        figures = Figures.of(await state.tallies())
        with stop_on_signals(say) as stop:
            async with _clouds(state, state_path, access):
                with shown(progress_for(figures, talk)):
                    await engine.run(
                        state,
                        lambda key, learnt: _connect(key, learnt, access, settings.limits),
                        settings,
                        stop=stop.event,
                        on_change=figures.change,
                    )
    return stop


@asynccontextmanager
async def _clouds(state: StateFile, state_path: Path, access: CloudSettings) -> AsyncIterator[None]:
    """The practice cloud, where the run asks for it."""
    default = access.cloud or os.environ.get("OS_CLOUD")
    if practice.is_wanted({target.key.cloud or default for target in state.targets()}):
        async with practice.practice_cloud(practice.journal_path(state_path)):
            yield
    else:
        yield


def _connect(
    key: TargetKey, learnt: float | None, access: CloudSettings, limits: Limits
) -> AbstractAsyncContextManager[Cloud]:
    gate = RateGate(limits.requests_per_second)
    if learnt is not None:
        gate.start_at(learnt)
    return cloud.connect(key, access, limits=limits, gate=gate)


def _sum_up(state_path: Path, talk: Talk, *, took_s: float) -> Totals:
    with StateReader(state_path) as reader:
        totals = Totals.of(reader.tallies())
        if not talk.quiet:
            click.echo(summary_text(reader, state_path, took_s=took_s))
    return totals
