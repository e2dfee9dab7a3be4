"""`batchexport schedule next`: the next starts of jobs."""

from __future__ import annotations

import time
from pathlib import Path

import click

from batchexport.cli.console import err, marked, out
from batchexport.cli.help import Command
from batchexport.cli.options import STATE_FILE, option, talk_options

EPILOG = """\b
Examples:
  batchexport schedule next jobs/nightly.toml
  batchexport schedule next jobs/*.toml --count 30
"""


@click.command("next", cls=Command, epilog=EPILOG)
@click.argument("job_paths", metavar="JOBFILE...", nargs=-1, required=True, type=STATE_FILE)
@option(
    "--count", type=click.IntRange(min=1), default=5, metavar="N", show_default=True, words="How many starts."
)
@talk_options
def next_starts(job_paths: tuple[Path, ...], count: int) -> None:
    """Show the next starts, in the job's time and in UTC.

    Warns of times that a clock change skips or doubles within the next 400 days, and of starts while the
    window is closed.
    """
    from itertools import islice

    from batchexport.cli.job_schedule import scheduled_job, warnings
    from batchexport.scheduling.cron import starts, told

    now = time.time()
    for path in job_paths:
        job = scheduled_job(path)
        times = list(islice(starts(job.schedule, now), count))
        for at in times:
            out(f"{path.name}: {told(at, job.schedule.zone)}")
        for words in warnings(job, times, now=now):
            err(f"{marked('warning:', 'yellow')} {path.name}: {words}")
