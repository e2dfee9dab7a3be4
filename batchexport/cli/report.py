"""`batchexport report`: every row of a run and what became of it."""

from __future__ import annotations

import time
from pathlib import Path

import click

from batchexport.cli.options import STATE_FILE, option, talk_options
from batchexport.model import JobState

EPILOG = """\b
Examples:
  batchexport report volumes.state
  batchexport report volumes.state -f csv --only failed --only ambiguous > again.csv
  batchexport report volumes.state -f json | jq .totals
"""


@click.command(epilog=EPILOG)
@click.argument("state_path", metavar="STATE", type=STATE_FILE)
@option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    words="Form of the report. CSV is itself a valid job list.",
)
@option(
    "--only",
    multiple=True,
    type=click.Choice([state.value for state in JobState]),
    words="Only rows in this state; may be given several times. Totals stay those of all rows.",
)
@talk_options
def report(state_path: Path, form: str, only: tuple[str, ...]) -> None:
    """List every row with its image or its reason.

    Reads the state file only, so it works during a run, after it and without one.
    """
    from batchexport.report.rows import Format, report_lines
    from batchexport.store import StateReader

    states = [JobState(word) for word in only]
    with StateReader(state_path) as reader:
        for line in report_lines(reader, Format(form), now=time.time(), only=states):
            click.echo(line)
