"""`batchexport status`: where a run stands."""

from __future__ import annotations

import time
from pathlib import Path

import click

from batchexport.cli.options import STATE_FILE, option, talk_options

EPILOG = """\b
Examples:
  batchexport status volumes.state
  batchexport status volumes.state -f json
"""


@click.command(epilog=EPILOG)
@click.argument("state_path", metavar="STATE", type=STATE_FILE)
@option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    words="Form of the answer.",
)
@talk_options
def status(state_path: Path, form: str) -> None:
    """Show how far a run is.

    Reads the state file only, so it works during a run, after it and without one.
    """
    from batchexport.report.status import status_json, status_text
    from batchexport.store import StateReader

    show = status_json if form == "json" else status_text
    with StateReader(state_path) as reader:
        click.echo(show(reader, state_path, now=time.time()))
