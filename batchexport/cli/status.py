"""`batchexport status`: where a run stands."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from batchexport.cli.console import out
from batchexport.cli.listing import listed, listing_options
from batchexport.cli.options import Command, console_options, option
from batchexport.cli.parameters import STATE_OR_JOB, Parsed
from batchexport.cli.run_options import interval_s

EPILOG = """\b
Examples:
  batchexport status volumes.state
  batchexport status volumes.state --watch
  batchexport status volumes.state -f json
"""


def columns() -> Sequence[str]:
    """The columns of the list of targets."""
    from batchexport.report.status import COLUMNS

    return COLUMNS


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE|JOBFILE.toml", type=STATE_OR_JOB)
@listing_options(columns, of="status", help="Output format; csv and value list the targets.")
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
    from batchexport.report.status import status_json, status_text, targets_listing
    from batchexport.store import stores

    if watch:
        if form != "table":
            raise click.UsageError("--watch is for people; follow a run as JSON with run --events")
        from batchexport.cli.status_watch import watch as watch_run

        watch_run(state_path, every_s=every_s)
        return
    now = time.time()
    with stores.read(state_path) as reader:
        out(
            listed(
                form,
                targets_listing(reader),
                text=lambda: status_text(reader, state_path, now=now),
                document=lambda: status_json(reader, state_path, now=now),
            )
        )
