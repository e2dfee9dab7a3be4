"""`batchexport give-up`: end rows, or the wait for servers, on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchexport.cli.console import console_of, out
from batchexport.cli.options import option
from batchexport.cli.parameters import STATE_FILE

if TYPE_CHECKING:
    from batchexport.app.give_up import GivenUp

EPILOG = """\b
Examples:
  batchexport give-up volumes.state --stalled
  batchexport give-up volumes.state --volume 16369c5d-384d-4e64-b37a-56d898769362 --yes
  batchexport give-up volumes.state --server aaaaaaaa-0000-4000-8000-000000000000 --yes
"""


@click.command(name="give-up", epilog=EPILOG)
@click.argument("state_path", metavar="STATE", type=STATE_FILE)
@option(
    "--volume",
    "volume_ids",
    multiple=True,
    metavar="ID",
    of="give-up",
    help="The row of this volume. Repeatable.",
)
@option("--stalled", is_flag=True, of="give-up", help="Every row past its deadline.")
@option(
    "--server",
    "server_ids",
    multiple=True,
    metavar="ID",
    of="give-up",
    help="Stop waiting to start this server. Repeatable.",
)
@option("-y", "--yes", is_flag=True, of="give-up", help="Do it. Default: only show what would end.")
def give_up(
    state_path: Path, volume_ids: tuple[str, ...], stalled: bool, server_ids: tuple[str, ...], yes: bool
) -> None:
    """End rows that cannot succeed any more.

    Then the run can end, and later nights can start. The rows end as failed, with the code given_up; `retry`
    takes them up again and first checks what the cloud made of them. Sends nothing to the cloud, and stops
    or deletes nothing in it: what is left there is named. Exit code 4: a process is working on the state
    file; stop it first.
    """
    from batchexport.app import give_up as app
    from batchexport.app import run_in_loop
    from batchexport.cli.logs import start_log

    start_log(console_of())
    given_up = app.give_up(
        state_path, volume_ids=volume_ids, stalled=stalled, server_ids=server_ids, confirmed=yes
    )
    out(_text(run_in_loop(given_up), state_path, confirmed=yes))


def _text(done: GivenUp, state_path: Path, *, confirmed: bool) -> str:
    """What was given up, and what that leaves in the cloud."""
    from batchexport import engine
    from batchexport.report.text import count_of

    if not done.rows and not done.server_ids:
        return "no row is past its deadline: nothing to give up"
    lines = [f"{row.job.volume_id}  {row.state}: {engine.left_behind(row)}" for row in done.rows]
    lines += [f"server {server_id}: it is left as it is" for server_id in done.server_ids]
    what = " and ".join(
        count_of(len(things), word)
        for things, word in ((done.rows, "row"), (done.server_ids, "server"))
        if things
    )
    if not confirmed:
        lines.append(f"{what} would be given up; nothing was changed, repeat with --yes")
        return "\n".join(lines)
    lines.append(f"{what} given up")
    if done.rows:
        from batchexport.report.context import context_of
        from batchexport.store import stores

        with stores.read(state_path) as reader:
            context = context_of(reader)
        lines.append(f"next: {context.command('resume')}  (continues with the others, starts servers)")
        lines.append(f"next: {context.command('cleanup')}  (shows unfinished images that are left)")
    return "\n".join(lines)
