"""`batchexport schedule run`: start jobs from the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from batchexport.cli.console import console_of
from batchexport.cli.help import Command
from batchexport.cli.options import STATE_FILE, talk_options

EPILOG = """\b
Examples:
  batchexport schedule run jobs/nightly.toml
  batchexport schedule run jobs/nightly.toml jobs/weekly.toml --log-format json
"""


@click.command("run", cls=Command, epilog=EPILOG)
@click.argument("job_paths", metavar="JOBFILE...", nargs=-1, required=True, type=STATE_FILE)
@talk_options
def keep(job_paths: tuple[Path, ...]) -> None:
    """Start jobs when their time comes, until a signal ends it.

    Made for containers and for hosts without a timer. Each night is a process of its own; one job never
    overlaps itself. A start that was missed while this was not running, or the machine slept, is made up for
    as long as the window is open. SIGHUP reads the job files again; SIGINT, SIGTERM, or the end of the
    terminal that it was started from lets running nights drain.
    """
    from batchexport.cli.execution import run_in_loop
    from batchexport.cli.logs import start_log
    from batchexport.cli.timetable import keep_timetable

    start_log(console_of())
    raise click.exceptions.Exit(run_in_loop(keep_timetable(job_paths, console_of())))
