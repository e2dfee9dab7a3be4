"""`batchexport resources`: what exports hold and have not released, and releasing it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli.console import console_of, err, out
from batchexport.cli.listing import listed, listing_options
from batchexport.cli.options import Command, option
from batchexport.cli.parameters import STATE_OR_JOB
from batchexport.cli.run_options import visiting_options

if TYPE_CHECKING:
    from batchexport.config import CloudSettings, Settings

EPILOG = """\b
Examples:
  batchexport resources volumes.state
  batchexport resources volumes.state --release --os-cloud prod
  batchexport resources volumes.state -f value -c kind -c resource_id
"""


def columns() -> Sequence[str]:
    """The columns of the list."""
    from batchexport.report.resources import COLUMNS

    return COLUMNS


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE|JOBFILE.toml", type=STATE_OR_JOB)
@option(
    "--release",
    is_flag=True,
    of="resources",
    help="Release what no export in progress needs: start servers, delete temporary volumes and snapshots.",
)
@listing_options(columns, of="resources")
@visiting_options
def resources(state_path: Path, release: bool, form: str, **flags: Any) -> None:
    """Show or release the servers, snapshots and temporary volumes that a run holds.

    Without --release, reads only the state file. What an export in progress needs stays: `resume` releases it
    after the copy. Exit code 3 with --release: something is left.
    """
    from batchexport.report.resources import (
        resources_json,
        resources_listing,
        resources_text,
        volume_ids_of,
    )
    from batchexport.store import stores

    if release:
        from batchexport.app import run_in_loop
        from batchexport.cli.flags import settings_of_visit
        from batchexport.cli.logs import start_log

        start_log(console_of())
        run_in_loop(_release(state_path, *settings_of_visit(state_path, flags)))
    with stores.read(state_path) as reader:
        left = reader.overview()
        names = reader.volume_names(volume_ids_of(left))
    out(
        listed(
            form,
            resources_listing(left, names),
            text=lambda: resources_text(left, names),
            document=lambda: resources_json(left, names),
        )
    )
    raise click.exceptions.Exit(3 if release and left.resources else 0)


async def _release(state_path: Path, settings: Settings, access: CloudSettings) -> None:
    from batchexport.app.resources import release_resources
    from batchexport.cli.signals import stop_on_signals

    with stop_on_signals(err, first="waiting for what is being released; once more exits at once"):
        await release_resources(state_path, settings, access)
