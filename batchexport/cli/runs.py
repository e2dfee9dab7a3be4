"""`batchexport runs`: the nights in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from batchexport.cli.console import out
from batchexport.cli.listing import listed, listing_options
from batchexport.cli.options import Command, console_options

EPILOG = """\b
Examples:
  batchexport runs nights
  batchexport runs nights -f json
  batchexport runs nights -c state_file -c failed --sort-column failed --sort-descending
"""


def columns() -> Sequence[str]:
    """The columns of the list."""
    from batchexport.report.history import COLUMNS

    return COLUMNS


@click.command(cls=Command, epilog=EPILOG)
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@listing_options(columns, of="runs")
@console_options
def runs(folder: Path, form: str) -> None:
    """List the runs in a folder, oldest first.

    For the nights of a job: one line each, with its result. Files that are not
    usable state files are listed with what is wrong with them.
    """
    from batchexport.report.history import runs_in, runs_json, runs_listing, runs_text

    found = runs_in(folder)
    out(listed(form, runs_listing(found), text=lambda: runs_text(found), document=lambda: runs_json(found)))
