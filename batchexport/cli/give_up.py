"""`batchexport give-up`: end rows, or the wait for servers, on purpose."""

from __future__ import annotations

from pathlib import Path

import click

from batchexport.cli.console import console_of, out
from batchexport.cli.options import STATE_FILE, option

EPILOG = """\b
Examples:
  batchexport give-up volumes.state --stalled
  batchexport give-up volumes.state --volume 16369c5d-384d-4e64-b37a-56d898769362 --yes
  batchexport give-up volumes.state --server aaaaaaaa-0000-4000-8000-000000000000 --yes
"""


@click.command(name="give-up", epilog=EPILOG)
@click.argument("state_path", metavar="STATE", type=STATE_FILE)
@option(
    "--volume", "volume_ids", multiple=True, metavar="ID", of="give-up", words="Its row. Can be repeated."
)
@option("--stalled", is_flag=True, of="give-up", words="Every row past its deadline.")
@option(
    "--server",
    "server_ids",
    multiple=True,
    metavar="ID",
    of="give-up",
    words="No longer wait to start this server. Can be repeated.",
)
@option("-y", "--yes", is_flag=True, of="give-up", words="Do it; without, it is only shown.")
def give_up(
    state_path: Path, volume_ids: tuple[str, ...], stalled: bool, server_ids: tuple[str, ...], yes: bool
) -> None:
    """End rows that can no longer come true, so that the run can end and later nights can begin.

    The rows end as failed, with the code given_up; `retry` takes them up again, and looks first at what the
    cloud made of them. Nothing is sent to the cloud, and nothing in it is stopped or removed: what is left
    there is named. Exit code 4: a process works on the state file; stop it first.
    """
    from batchexport.cli import giving_up
    from batchexport.cli.logs import start_log

    start_log(console_of())
    done = giving_up.given_up(
        state_path, volume_ids=volume_ids, stalled=stalled, server_ids=server_ids, sure=yes
    )
    out(giving_up.given_up_text(done, state_path, sure=yes))
