"""Stops a run when its window has closed and the grace period is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from batchexport.app.console import Console
from batchexport.model import JobState
from batchexport.report.text import duration
from batchexport.scheduling.throughput import OpenHours
from batchexport.store import StateReader

#: The wall clock is looked at so often: it may be set, and the machine may have slept.
LOOK_EVERY_S = 30.0


#: A run that is not to be watched has its rows looked at so often.
SENT_LOOK_S = 5.0
#: Rows that have not moved for so long do not move soon: they do not fit, or their volumes are stuck.
STILL_S = 600.0


@asynccontextmanager
async def sending_only(state_path: Path | None, stop: asyncio.Event) -> AsyncIterator[None]:
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


async def _stop_when_sent(state_path: Path, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    last, moved_at = None, loop.time()
    with StateReader(state_path) as reader:
        while True:
            await asyncio.sleep(SENT_LOOK_S)
            rows = {(tally.target, tally.state): tally.jobs for tally in reader.tallies()}
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
            f"the window is closed: no more exports start; running ones are watched for {duration(grace_s)}"
        )
    if not await _stopped_before(hours.watched_until, stop, now):
        console.notice("the grace period is over: running exports are checked when the window opens again")
        stop.set()


async def _stopped_before(at: float, stop: asyncio.Event, now: Callable[[], float]) -> bool:
    """Wait until this time; whether the run was asked to stop before it."""
    while (left_s := at - now()) > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), min(left_s, LOOK_EVERY_S))
            return True
    return False
