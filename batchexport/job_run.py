"""The run of a job file in a program of one's own: its window, what earlier runs left, and its retention.

It waits and works in a thread with an event loop of its own, as `batchexport run JOB.toml` does in a process.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Unpack

import msgspec

from batchexport.app.console import LogConsole
from batchexport.app.nightly_run import run_night
from batchexport.app.run import Observed, outcome_of, record_end, work
from batchexport.app.run_config import resolve_config
from batchexport.app.run_hooks import run_hooks
from batchexport.changes import JobChange
from batchexport.config import CloudSettings, Settings
from batchexport.engine import Connect
from batchexport.errors import BatchExportError, ConfigError
from batchexport.export_options import SignInOptions, layer_of
from batchexport.scheduling.throughput import OpenHours
from batchexport.store import StoreRef, stores

__all__ = ["JobRun", "run_job"]

#: As of a run that SIGINT ended: nothing more begins, and the next run resumes it.
_CANCELLED = 130


class JobRun(msgspec.Struct, frozen=True, kw_only=True):
    """What the run of a job file came to."""

    exit_code: int  #: of `batchexport run JOB.toml`; 75 = the window is closed, with work left
    state_path: Path | None  #: of the run that is reported; None = nothing was worked on


async def run_job(
    job_file: str | Path,
    *,
    on_change: Callable[[JobChange], object] | None = None,
    **options: Unpack[SignInOptions],
) -> JobRun:
    """Do what a job file with a window or a `state_dir` asks for now, as `batchexport run JOB.toml` does.

    What an earlier run left is resumed first, then today's list is exported within the window, then images
    that newer ones supersede are deleted by the rules of `[images]`; `[hooks]` are run. `[notify]` and
    `[report]` are for the command only: here the caller does as it likes. `on_change` is called in the event
    loop of the caller, with changes of every state file.

    Where the task is cancelled, it drains as `export` does. Raises ConfigError, JobListError, StateInUseError
    while another process runs the job, and CloudError where the whole run had to stop.
    """
    config = resolve_config(str(job_file), layer_of(options), os.environ)
    if not (config.schedule.state_dir or config.schedule.window):
        raise ConfigError(
            f"{job_file} has neither [job] state_dir nor [window]", hint="export it with `export`"
        )
    worker = _Worker(asyncio.get_running_loop(), on_change)
    running = asyncio.ensure_future(
        asyncio.to_thread(
            run_night,
            config,
            LogConsole(),
            work=worker.work,
            report_on=worker.report_on,
            pause=worker.pause,
        )
    )
    try:
        exit_code = await asyncio.shield(running)
    except asyncio.CancelledError:
        worker.cancel()
        await asyncio.wait([running])  # it ends by itself: a thread cannot be cancelled
        raise
    return JobRun(exit_code=exit_code, state_path=worker.reported)


class _Worker:
    """Works on one state file after another, in the thread that the run has."""

    def __init__(
        self, caller: asyncio.AbstractEventLoop, on_change: Callable[[JobChange], object] | None
    ) -> None:
        self._caller = caller
        self._on_change = on_change
        self._cancelled = threading.Event()
        self._stop: Callable[[], object] | None = None
        self._lock = threading.Lock()
        self.reported: Path | None = None

    def cancel(self) -> None:
        """Let what was sent get its answer, and begin nothing more."""
        with self._lock:
            self._cancelled.set()
            if self._stop is not None:
                self._stop()

    def pause(self, seconds: float) -> None:
        """Wait, until it is cancelled."""
        if self._cancelled.wait(seconds):
            raise BatchExportError("cancelled while a service was away")

    def report_on(self, path: Path) -> None:
        self.reported = path

    def work(
        self,
        state_path: StoreRef,
        settings: Settings,
        access: CloudSettings,
        *,
        hours: OpenHours | None,
        watch: bool = True,
    ) -> int:
        """Work on one state file; the exit code, 130 once it is cancelled."""
        if self._cancelled.is_set():
            return _CANCELLED
        self.reported = self.reported or Path(str(state_path))
        ended = partial(record_end, state_path, began_at=time.time(), job=None)
        try:
            with run_hooks(settings.hooks, state_path) as hooked:
                work_on = self._work(state_path, settings, access, hours, watch)
                hooked.failed_row_hooks = asyncio.run(work_on)
                stopped = _CANCELLED if self._cancelled.is_set() else None
                with stores.read(state_path) as reader:
                    in_window = hours is not None
                    outcome = outcome_of(reader, stopped=stopped, wait=settings.wait, in_window=in_window)
                hooked.exit_code = stopped or outcome.exit_code
        except BatchExportError as error:
            ended(exit_code=error.exit_code, error=str(error))
            raise
        ended(exit_code=hooked.exit_code, error="cancelled" if stopped else None)
        return hooked.exit_code

    async def _work(
        self,
        state_path: StoreRef,
        settings: Settings,
        access: CloudSettings,
        hours: OpenHours | None,
        watch: bool,
    ) -> int:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        with self._lock:
            self._stop = partial(loop.call_soon_threadsafe, stop.set)
            if self._cancelled.is_set():
                stop.set()
        try:
            return await work(
                state_path,
                settings,
                access,
                LogConsole(),
                stop=stop,
                observe=self._observed,
                hours=hours,
                watch=watch,
            )
        finally:
            with self._lock:
                self._stop = None

    @asynccontextmanager
    async def _observed(self, connect: Connect) -> AsyncIterator[Observed]:
        yield Observed(connect, None if self._on_change is None else self._tell)

    def _tell(self, change: JobChange) -> None:
        if self._on_change is not None and not self._caller.is_closed():
            self._caller.call_soon_threadsafe(self._on_change, change)
