"""The foreground scheduler: waits for the time of each job and starts its night as a process.

The wall clock is looked at every half minute at least, so that clocks that are set and machines that slept
are noticed. A start too many does no harm: a night that is done, or at work, is not begun again.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from batchexport.app.console import Console
from batchexport.app.schedule import ScheduledJob, scheduled_job
from batchexport.errors import ConfigError
from batchexport.scheduling.cron import next_start, told
from batchexport.scheduling.window import opening_at

LOOK_EVERY_S = 30.0
#: Clocks are corrected by less than this all the time; more was set by somebody.
STEP_S = 60.0
#: A night that was ended by what may pass is taken up again after so long, while its window is open.
AGAIN_S = 600.0

#: Works through one night of a job file; its exit code. Ends early, drained, when the event is set.
Start = Callable[[Path, asyncio.Event], Awaitable[int]]


class Entry(msgspec.Struct):
    """One job on the timetable."""

    job: ScheduledJob
    next_at: float | None  #: None = no start will ever come
    night: asyncio.Task[None] | None = None

    def plan(self, now: float) -> None:
        """Note the next start after now."""
        self.next_at = next_start(self.job.schedule, now)

    def plan_again(self, now: float) -> None:
        """Start once more soon, where the window is open then."""
        opening = opening_at(self.job.config.window, now + AGAIN_S) if self.job.config.window else None
        if opening is not None and now + AGAIN_S < opening.closes_at:
            self.next_at = min(now + AGAIN_S, now + AGAIN_S if self.next_at is None else self.next_at)


def _may_go_better(code: int) -> bool:
    """Whether a night that ended so may get further soon: stopped for the whole run, no room, or crashed."""
    return code in (1, 6, 74) or code < 0


def first_start(job: ScheduledJob, now: float) -> float | None:
    """When a job is started first: at once while its window is open, for its start may have been missed."""
    opening = opening_at(job.config.window, now) if job.config.window else None
    if opening is not None and now < opening.closes_at:
        return now
    return next_start(job.schedule, now)


class Timetable(msgspec.Struct, kw_only=True):
    """All jobs, and the nights that run. `look` does what is due."""

    console: Console
    start: Start
    stop: asyncio.Event
    now: Callable[[], float]
    group: asyncio.TaskGroup
    entries: dict[Path, Entry] = msgspec.field(default_factory=dict)
    looked_at: float = 0.0

    def read(self, paths: Sequence[Path]) -> None:
        """Read the job files; one that cannot be used keeps its place as it was. Raises for a new one."""
        now = self.now()
        for path in paths:
            known = self.entries.get(path)
            try:
                job = scheduled_job(path)
            except ConfigError as error:
                if known is None:
                    raise
                self.console.notice(f"{error}\n{path.name}: keeping its previous schedule")
                continue
            if known is None:
                self.entries[path] = known = Entry(job, first_start(job, now))
            elif known.job != job:
                known.job = job
                known.plan(now)
            self._tell(known)

    def look(self) -> float:
        """Start what is due; seconds until the next look."""
        now = self.now()
        stepped_back = now < self.looked_at - STEP_S
        self.looked_at = now
        wait_s = LOOK_EVERY_S
        for entry in self.entries.values():
            if stepped_back:
                entry.plan(now)
                self._tell(entry)
            if entry.next_at is not None and now >= entry.next_at:
                entry.plan(now)
                self._begin(entry)
            if entry.next_at is not None:
                wait_s = min(wait_s, entry.next_at - now)
        return wait_s

    def _begin(self, entry: Entry) -> None:
        if entry.night is not None and not entry.night.done():
            self.console.notice(f"{entry.job.path.name}: still running, skipping this start")
            return
        entry.night = self.group.create_task(self._night(entry))

    async def _night(self, entry: Entry) -> None:
        self.console.notice(f"{entry.job.path.name}: starting")
        code = await self.start(entry.job.path, self.stop)
        self.console.notice(f"{entry.job.path.name}: ended with exit code {code}")
        if _may_go_better(code) and not self.stop.is_set():
            entry.plan_again(self.now())
        self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        when = "never again" if entry.next_at is None else told(entry.next_at, entry.job.schedule.zone)
        self.console.notice(f"{entry.job.path.name}: next start {when}")


async def run_scheduler(
    paths: Sequence[Path],
    console: Console,
    *,
    start: Start,
    stop: asyncio.Event,
    reload: asyncio.Event,
    now: Callable[[], float] = time.time,
) -> None:
    """Start the jobs when their times come, until `stop` is set; `reload` reads the job files again.

    Running nights are drained at the end. Raises ConfigError for a file that cannot be used.
    """
    # Errors of reading come before any task runs: a group would wrap them.
    for path in paths:
        scheduled_job(path)
    async with asyncio.TaskGroup() as group:
        table = Timetable(console=console, start=start, stop=stop, now=now, group=group)
        table.read(paths)
        while not stop.is_set():
            wait_s = table.look()
            await _first_of(stop, reload, within_s=wait_s)
            if reload.is_set():
                reload.clear()
                table.read(paths)


def start_process(options: Sequence[str]) -> Start:
    """What starts a night as a process of this program, with these options of `run`."""

    async def start(path: Path, stop: asyncio.Event) -> int:
        # -P: a csv.py beside the job file is no part of Python. A session of its own: Ctrl-C reaches this
        # process alone, which passes it on once.
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "batchexport", "run", *options, str(path)), start_new_session=True
        )
        ended = asyncio.ensure_future(child.wait())
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                child.terminate()
            return await ended
        finally:
            stopped.cancel()

    return start


async def _first_of(*events: asyncio.Event, within_s: float) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
