"""`batchexport workers`: who works on the runs of a database."""

from __future__ import annotations

from collections.abc import Sequence

import click

from batchexport.cli.console import out
from batchexport.cli.fleet_options import database_argument, named_database
from batchexport.cli.listing import listed, listing_options
from batchexport.cli.options import Command, console_options

EPILOG = """\b
Examples:
  batchexport workers postgresql://worker@db.example/exports
  batchexport workers postgresql://worker@db.example/exports -f json
"""


def columns() -> Sequence[str]:
    """The columns of the list."""
    from batchexport.report.fleet import WORKER_COLUMNS

    return WORKER_COLUMNS


@click.command(cls=Command, epilog=EPILOG)
@database_argument
@listing_options(columns, of="workers")
@console_options
def workers(database: str, form: str) -> None:
    """Show the workers of a database and what each holds.

    Each line also has the time until others may take over its targets, when it was last heard of, its
    version and its last problem.
    """
    from batchexport.app.fleet import fleet_of
    from batchexport.report.fleet import workers_json, workers_listing, workers_text

    fleet = fleet_of(named_database(database))
    out(
        listed(
            form,
            workers_listing(fleet),
            text=lambda: workers_text(fleet),
            document=lambda: workers_json(fleet),
        )
    )
