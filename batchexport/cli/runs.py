"""`batchexport runs`: the nights in a folder."""

from __future__ import annotations

from pathlib import Path

import click

from batchexport.cli.console import out
from batchexport.cli.options import Command, console_options
from batchexport.cli.parameters import form_option

EPILOG = """\b
Examples:
  batchexport runs nights
  batchexport runs nights -f json
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@form_option("table", "json", of="runs")
@console_options
def runs(folder: Path, form: str) -> None:
    """List the runs in a folder, oldest first.

    For the nights of a job: one line each, with its result. A file that is not a usable state file is named
    with what is wrong with it.
    """
    from batchexport.report.history import runs_in, runs_json, runs_text

    show = runs_json if form == "json" else runs_text
    out(show(runs_in(folder)))
