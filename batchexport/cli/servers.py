"""`batchexport servers`: which servers are stopped for exports, and starting them."""

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
  batchexport servers volumes.state
  batchexport servers volumes.state --start --os-cloud prod
  batchexport servers volumes.state --start --anyway --os-cloud prod
  batchexport servers volumes.state -f json | jq -r .servers[].server_id
"""


def columns() -> Sequence[str]:
    """The columns of the list."""
    from batchexport.report.servers import COLUMNS

    return COLUMNS


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE|JOBFILE.toml", type=STATE_OR_JOB)
@option(
    "--start",
    is_flag=True,
    of="servers",
    help="Start servers whose volumes are free, and wait until they are up.",
)
@option(
    "--anyway",
    is_flag=True,
    of="servers",
    help="With --start: also start servers whose volumes are still being copied. Such a copy is of a running"
    " server, and its row says so (server_ran).",
)
@listing_options(columns, of="servers")
@visiting_options
def servers(state_path: Path, start: bool, anyway: bool, form: str, **flags: Any) -> None:
    """Show or start the servers that are stopped for exports.

    Without --start, reads only the state file. A server whose volume is still being copied stays down:
    `resume` starts it after the copy, --anyway starts it now. Exit code 3 with --start: some are still down.
    """
    from batchexport.report.servers import servers_json, servers_listing, servers_text
    from batchexport.store import stores

    if anyway and not start:
        raise click.UsageError("--anyway says how to --start servers: give both")
    if start:
        from batchexport.app import run_in_loop
        from batchexport.cli.flags import settings_of_visit
        from batchexport.cli.logs import start_log

        start_log(console_of())
        run_in_loop(_start(state_path, *settings_of_visit(state_path, flags), anyway=anyway))
    with stores.read(state_path) as reader:
        left = reader.overview().servers
        names = reader.volume_names({each for server in left for each in server.volume_ids})
    out(
        listed(
            form,
            servers_listing(left, names),
            text=lambda: servers_text(left, names),
            document=lambda: servers_json(left, names),
        )
    )
    raise click.exceptions.Exit(3 if start and left else 0)


async def _start(state_path: Path, settings: Settings, access: CloudSettings, *, anyway: bool) -> None:
    from batchexport.app.resources import release_resources
    from batchexport.cli.signals import stop_on_signals

    first = "waiting for servers that are starting; once more exits at once"
    with stop_on_signals(err, first=first):
        await release_resources(state_path, settings, access, anyway=anyway)
