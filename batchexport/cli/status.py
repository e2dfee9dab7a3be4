"""`batchexport status`: where a run stands."""

from __future__ import annotations

import time
from pathlib import Path

import click

from batchexport.cli.console import out
from batchexport.cli.options import Command, console_options, option
from batchexport.cli.parameters import STATE_OR_JOB, Parsed, form_option
from batchexport.cli.run_options import interval_s

EPILOG = """\b
Examples:
  batchexport status volumes.state
  batchexport status volumes.state --watch
  batchexport status volumes.state -f json
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE|JOBFILE.toml", type=STATE_OR_JOB)
@form_option("table", "json", of="status")
@option("-w", "--watch", is_flag=True, help="Repeat until everything is done, or Ctrl-C.")
@option(
    "--every",
    "every_s",
    type=Parsed("duration", interval_s),
    metavar="S",
    default="2s",
    show_default=True,
    help="Interval of --watch.",
)
@console_options
def status(state_path: Path, form: str, watch: bool, every_s: float) -> None:
    """Show the progress of a run.

    Reads only the state file, so it works during a run, after it, and without access to the cloud.
    """
    from batchexport.report.status import status_json, status_text
    from batchexport.store import StateReader

    if watch:
        if form != "table":
            raise click.UsageError("--watch is for people; follow a run as JSON with run --events")
        from batchexport.cli.status_watch import watch as watch_run

        watch_run(state_path, every_s=every_s)
        return
    show = status_json if form == "json" else status_text
    with StateReader(state_path) as reader:
        out(show(reader, state_path, now=time.time()))
