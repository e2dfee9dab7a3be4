"""`batchexport report`: what became of the rows of a run, one by one or as a night to read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from batchexport.cli.listing import listing_options, selection, terminal_width
from batchexport.cli.options import Command, console_options, option
from batchexport.cli.parameters import FILE, STATE_FILE, STATE_OR_JOB
from batchexport.errors import ConfigError
from batchexport.model import JobState

EPILOG = """\b
Examples:
  batchexport report volumes.state
  batchexport report volumes.state -f html -o night.html
  batchexport report volumes.state -f csv --only failed --only ambiguous > again.csv
  batchexport report volumes.state -f json | jq .totals
  batchexport report volumes.state -c volume_name -c image_id --sort-column size_gib
  batchexport report volumes.state --only succeeded -f value -c image_id
"""


def columns() -> Sequence[str]:
    """The columns of a report."""
    from batchexport.report.rows import COLUMNS

    return COLUMNS


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE|JOBFILE.toml", type=STATE_OR_JOB)
@listing_options(
    columns,
    "html",
    "markdown",
    of="report",
    help="Report format. csv is itself a valid job list; html and markdown are for people.",
)
@option(
    "--only",
    multiple=True,
    type=click.Choice([state.value for state in JobState]),
    help="Only rows in this state (not html, markdown). Repeatable. Totals still count all rows.",
)
@option(
    "--compare",
    multiple=True,
    type=STATE_FILE,
    metavar="STATE",
    show_default="earlier runs of the list in the same folder",
    help="State file of an earlier run to compare with (html, markdown). Repeatable.",
)
@option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE",
    of="report",
    help="Write to this file, completely or not at all; - is stdout.",
)
@console_options
def report(
    state_path: Path, form: str, only: tuple[str, ...], compare: tuple[Path, ...], output: Path | None
) -> None:
    """Show every row with its image or its reason.

    Reads only the state file, so it works during a run, after it, and without access to the cloud. The HTML
    page is self-contained.
    """
    from batchexport.report.formats import ReportFormat, report_lines
    from batchexport.store import stores

    chosen = selection()
    if (only or chosen) and not ReportFormat(form).is_of_rows:
        name = "--only" if only else "-c" if chosen.columns else "--sort-column"
        raise click.UsageError(f"{name} chooses rows or their columns; {form} shows the whole run")
    states = [JobState(word) for word in only]
    width = terminal_width() if output is None or str(output) == "-" else None
    with stores.read(state_path) as reader:
        lines = report_lines(
            reader,
            ReportFormat(form),
            now=time.time(),
            only=states,
            compare=compare,
            width=width,
            selection=chosen,
        )
        _put(lines, output)


def _put(lines: Iterator[str], output: Path | None) -> None:
    if output is None or str(output) == "-":
        for line in lines:
            click.echo(line)
        return
    from batchexport.files import write_whole

    try:
        write_whole(output, (f"{line}\n" for line in lines))
    except OSError as error:
        raise ConfigError(f"cannot write the report to {output}: {error.strerror}") from error
