"""Working on a state file in the foreground: signals, progress, practice cloud, summary, exit code."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from batchexport import cloud, engine
from batchexport.cli import practice
from batchexport.cli.figures import Figures
from batchexport.cli.logs import start_log
from batchexport.cli.progress import progress_for, shown
from batchexport.cli.signals import Stop, stop_on_signals
from batchexport.cli.talk import Talk, say, tell
from batchexport.config import CloudSettings, Limits, Settings
from batchexport.engine.ports import Cloud
from batchexport.errors import CloudError, RunStoppedError
from batchexport.gate import RateGate
from batchexport.model import JobState, TargetKey
from batchexport.report.summary import summary_text
from batchexport.report.totals import Totals
from batchexport.report.words import count_of
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
        _sum_up(state_path, access, talk, started)
        raise
    totals = _sum_up(state_path, access, talk, started)
    return exit_code(totals, stopped=stop.exit_code, wait=settings.wait)


def exit_code(totals: Totals, *, stopped: int | None, wait: bool) -> int:
    """The exit code of a run that no error ended; `stopped` is the code of a signal, where one came."""
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
    if again:
        await _put_back(state_path, again, talk)
    with StateReader(state_path) as reader:
        figures = Figures.of(reader.tallies())
    async with StateFile.open(state_path) as state:
        with stop_on_signals(say) as stop:
            async with _reachable(state, state_path, access) as reached:
                connect = partial(_connect, access=reached, limits=settings.limits)
                with shown(progress_for(figures, talk)):
                    await engine.run(state, connect, settings, stop=stop.event, on_change=figures.change)
    return stop


async def _put_back(state_path: Path, again: Collection[JobState], talk: Talk) -> None:
    async with StateFile.open(state_path) as state:
        rows = await state.retry(frozenset(again))
    if not talk.quiet:
        say(f"{count_of(rows, 'row')} to be tried again")


@asynccontextmanager
async def _reachable(
    state: StateFile, state_path: Path, access: CloudSettings
) -> AsyncIterator[CloudSettings]:
    """How to sign in, once the practice cloud is up where the run asks for it."""
    default = access.cloud or os.environ.get("OS_CLOUD")
    if practice.is_wanted({target.key.cloud or default for target in state.targets()}):
        async with practice.practice_cloud(practice.journal_path(state_path)):
            yield replace(access, dialect=access.dialect or practice.DIALECT)
    else:
        yield access


def _connect(
    key: TargetKey, learnt: float | None, *, access: CloudSettings, limits: Limits
) -> AbstractAsyncContextManager[Cloud]:
    gate = RateGate(limits.requests_per_second)
    if learnt is not None:
        gate.start_at(learnt)
    return cloud.connect(key, access, limits=limits, gate=gate)


def _sum_up(state_path: Path, access: CloudSettings, talk: Talk, started: float) -> Totals:
    with StateReader(state_path) as reader:
        totals = Totals.of(reader.tallies())
        if not talk.quiet:
            took_s = time.monotonic() - started
            tell(summary_text(reader, state_path, cloud=access.cloud, took_s=took_s))
    return totals
