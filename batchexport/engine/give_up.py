"""Giving up jobs on purpose, without asking the cloud, so that they no longer delay the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from batchexport.changes import GivenUp
from batchexport.engine import decide
from batchexport.model import Ending, JobState
from batchexport.store import OpenRow, Work

#: Code of jobs that a person gave up.
GIVEN_UP = "given_up"


async def rows_to_give_up(
    work: Work,
    *,
    volume_ids: Sequence[str],
    stalled: bool,
    now: Callable[[], float] = time.time,
) -> list[OpenRow]:
    """The rows for these volumes that are not at their end; and with `stalled` those past their deadlines.

    A request in doubt has no deadline of its own: it gets that of an export that began with it.
    """
    found = {row.job.job_id: row for row in await work.open_jobs(volume_ids=volume_ids)}
    if stalled:
        at_s = now()
        for row in await work.open_jobs(stalled_at=at_s):
            allowed_s = decide.deadline_s(row.job.size_gib, row.job.options.timeout_s)
            if row.state is JobState.EXPORTING or at_s >= (row.job.intent_at or 0.0) + allowed_s:
                found.setdefault(row.job.job_id, row)
    return [found[job_id] for job_id in sorted(found)]


async def give_up_pending(work: Work, *, now: Callable[[], float] = time.time) -> None:
    """End every row for which nothing is under way, as failed."""
    last = 0
    while rows := await work.open_jobs(pending_after=last):
        await give_up(work, rows, now=now)
        last = rows[-1].job.job_id


async def give_up(work: Work, rows: Sequence[OpenRow], *, now: Callable[[], float] = time.time) -> None:
    """End these rows as failed. Nothing is sent: what the cloud still does for them, it goes on doing."""
    for row in rows:
        ending = Ending(reason=f"given up on purpose while {row.state}: {left_behind(row)}", code=GIVEN_UP)
        work.apply(GivenUp(job=row.job, before=row.state, ending=ending, at_s=now()))
    await work.flush()


def left_behind(row: OpenRow) -> str:
    """What giving up the job leaves in the cloud, for people."""
    match row.state:
        case JobState.EXPORTING:
            return f"its volume may still be copied to image {row.job.image_id}"
        case JobState.SUBMITTING:
            return f"a request may have been sent, and made an image {row.job.image_name!r}"
        case JobState.AMBIGUOUS:
            return f"all images of the name {row.job.image_name!r} are left as they are"
        case _ if row.job.attempt:
            return "images of its earlier attempts are left as they are"
        case _:
            return "nothing was sent for it"
