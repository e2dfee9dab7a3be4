"""`batchexport discover`: make a job list from the volumes of a project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from batchexport.cli.console import console_of, err, out
from batchexport.cli.listing import listing_options, selection, terminal_width
from batchexport.cli.options import Command, Decorator, option
from batchexport.cli.parameters import FILE, Parsed
from batchexport.cli.run_options import visiting_options

EPILOG = """\b
Examples:
  batchexport discover --os-cloud prod --status available > volumes.csv
  batchexport discover --os-cloud prod --name 'db-*' --metadata tier=gold -o db.csv
  batchexport discover --os-cloud prod --attached-to SERVER_ID --max-size 1024 -o db.csv --append
"""


def pair(text: str) -> tuple[str, str]:
    """Key and value of `key=value`. Raises ValueError for anything else."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError(f"{text!r} is not of the form key=value")
    return key, value


def _wish(*names: str, help: str, **attributes: Any) -> Decorator:
    return option(
        *names, multiple=True, of="discover", help=f"{help} Repeatable: one has to match.", **attributes
    )


def columns() -> Sequence[str]:
    """The columns of the list."""
    from batchexport.report.volumes import COLUMNS

    return COLUMNS


@click.command(cls=Command, epilog=EPILOG)
@option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE",
    of="discover",
    help="Write the list to this file. Default: stdout.",
)
@option("--append", is_flag=True, help="Add the volumes that the list of -o does not have yet.")
@listing_options(columns, of="discover", default="csv")
@_wish("--status", "statuses", metavar="STATUS", help="Volumes with this status.")
@_wish("--name", "names", metavar="PATTERN", help="Volumes whose name matches, such as db-*.")
@_wish("--availability-zone", "zones", metavar="ZONE", help="Volumes in this zone.")
@_wish("--type", "types", metavar="TYPE", help="Volumes of this type.")
@_wish("--attached-to", "server_ids", metavar="SERVER_ID", help="Volumes attached to this server.")
@option(
    "--metadata",
    type=Parsed("pair", pair),
    metavar="KEY=PATTERN",
    multiple=True,
    help="Volumes with this metadata. Repeatable: all have to match.",
)
@option(
    "--min-size", "min_gib", type=click.IntRange(min=0), metavar="GIB", help="Volumes of at least this size."
)
@option(
    "--max-size", "max_gib", type=click.IntRange(min=0), metavar="GIB", help="Volumes of at most this size."
)
@visiting_options
def discover(output: Path | None, append: bool, form: str, **flags: Any) -> None:
    """Make a job list from the project's volumes.

    All of them, or those that match every filter. The list has the id of each volume and, for your
    information, its name, size, status, type, zone and servers.
    """
    from batchexport.app import run_in_loop
    from batchexport.app.discover import discover_volumes, list_text, write_list
    from batchexport.cli.flags import settings_of_account
    from batchexport.cli.logs import start_log
    from batchexport.config.volume_filter import VolumeFilter
    from batchexport.report.text import count_of

    output = None if output is not None and str(output) == "-" else output
    if append and output is None:
        raise click.UsageError("--append adds to a file: name it with -o")
    chosen = selection()
    if append and (chosen or form not in ("csv", "json")):
        raise click.UsageError("--append adds rows as they are, in csv or json: leave out -c, --sort-column")
    wanted = VolumeFilter(**{name: flags.pop(name) for name in VolumeFilter.__struct_fields__})
    start_log(console_of())
    volumes = run_in_loop(discover_volumes(wanted, *settings_of_account(flags)))
    if not volumes:
        any_wish = any(getattr(wanted, name) not in ((), None) for name in VolumeFilter.__struct_fields__)
        err("no volume matches" if any_wish else "the project has no volumes")
    if output is None:
        out(list_text(volumes, form, chosen, width=terminal_width()).rstrip("\n"))
        return
    written = write_list(output, volumes, form, append=append, selection=chosen)
    if volumes:
        fit = f"{count_of(len(volumes), 'volume')} {'matches' if len(volumes) == 1 else 'match'}"
        console_of().info(f"{fit}, {count_of(written, 'row')} written to {output}")
