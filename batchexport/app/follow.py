"""Waiting for a submitted run, and telling how it goes."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from batchexport.app.console import Console
from batchexport.app.run import outcome_of
from batchexport.errors import BatchExportError, RunStoppedError, StateVersionError
from batchexport.model import JobState
from batchexport.report.fleet import Fleet, waits_for
from batchexport.report.text import number
from batchexport.store import stores
from batchexport.store.fleet import Standing, SubmittedRun
from batchexport.store.postgres import fleet
from batchexport.store.postgres.reference import DatabasePath

#: How often the database is asked.
LOOK_EVERY_S = 2.0
#: How often progress is told, where nothing else is to be said.
TELL_EVERY_S = 60.0


async def follow(run: DatabasePath, console: Console, *, stop: asyncio.Event) -> int | None:
    """Wait until workers have ended a run; its exit code, as that of `run` for the same result.

    None = `stop` was set first: the run goes on all the same. A run that too many failed rows have paused
    counts as ended by an error (RunStoppedError); one that somebody paused is waited for. While the database
    is away the wait goes on. Raises StateVersionError.
    """
    told, told_at = "", 0.0
    while not stop.is_set():
        try:
            found = await asyncio.to_thread(_look, run)
            if found is not None and found[0].standing is Standing.ENDED:
                return await asyncio.to_thread(_exit_code, run)
        except StateVersionError:
            raise
        except BatchExportError as error:
            words = f"{error}; still waiting"
        else:
            if found is None:
                raise RunStoppedError(f"{run}: the run was dropped from its database")
            submitted, words = found
            if submitted.standing is Standing.PAUSED and submitted.note:
                raise RunStoppedError(
                    f"{run.run_name}: {submitted.note}",
                    hint=f"`batchexport report {run} --only failed` shows why;"
                    f" `batchexport ctl {run} continue` lets it go on",
                )
        now = time.monotonic()
        if words != told and (now >= told_at + TELL_EVERY_S or words.split(":")[0] != told.split(":")[0]):
            console.info(words)
            told, told_at = words, now
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)
    return None


def _look(run: DatabasePath) -> tuple[SubmittedRun, str] | None:
    """The run, and how it stands in words: what comes before the colon changes seldom."""
    every = Fleet(workers=fleet.workers(run), runs=fleet.submitted_runs(run))
    found = next((each for each in every.runs if each.run_name == run.run_name), None)
    if found is None:
        return None
    rows = sum(sum(target.jobs.values()) for target in found.targets)
    pending = sum(target.jobs.get(JobState.PENDING, 0) for target in found.targets)
    waiting = ", ".join(waits_for(every, found))
    standing = f"waits for {waiting}" if waiting else str(found.standing)
    done = f"{number(rows - found.jobs_to_do)} of {number(rows)} rows done, {number(pending)} not begun"
    return found, f"{found.run_name} {standing}: {done}"


def _exit_code(run: DatabasePath) -> int:
    with stores.read(run) as reader:
        return outcome_of(reader, stopped=None, wait=True).exit_code
