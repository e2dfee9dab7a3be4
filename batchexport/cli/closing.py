"""The end of a window while a run is at work: said when it comes, and obeyed when the grace is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from batchexport.cli.talk import say
from batchexport.pace import OpenHours
from batchexport.report.words import duration

#: The wall clock is looked at so often: it may be set, and the machine may have slept.
LOOK_EVERY_S = 30.0


@asynccontextmanager
async def closing(
    hours: OpenHours | None, stop: asyncio.Event, *, now: Callable[[], float] = time.time
) -> AsyncIterator[None]:
    """Sets `stop` when the time to watch is over, as long as the context lasts; never where hours is None."""
    if hours is None:
        yield
        return
    # No task group: it would wrap what ends the run, which is to be told as it is.
    task = asyncio.create_task(_close(hours, stop, now))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _close(hours: OpenHours, stop: asyncio.Event, now: Callable[[], float]) -> None:
    if await _stopped_before(hours.closes_at, stop, now):
        return
    grace_s = hours.watched_until - now()
    if grace_s > 0:
        say(f"the window is closed: nothing more begins, what runs is watched for {duration(grace_s)}")
    if not await _stopped_before(hours.watched_until, stop, now):
        say("the time to watch is over: what runs is looked up when the window opens again")
        stop.set()


async def _stopped_before(at: float, stop: asyncio.Event, now: Callable[[], float]) -> bool:
    """Whether the run was told to stop before this time, which is waited for."""
    while (left_s := at - now()) > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), min(left_s, LOOK_EVERY_S))
            return True
    return False
