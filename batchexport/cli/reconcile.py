"""`batchexport reconcile`: settle rows that have several images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batchexport.cli.help import Command
from batchexport.cli.options import STATE_FILE
from batchexport.cli.run_options import visiting_options
from batchexport.cli.talk import talk_of, tell

EPILOG = """\b
Examples:
  batchexport report volumes.state --only ambiguous
  batchexport reconcile volumes.state --os-cloud prod
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE", type=STATE_FILE)
@visiting_options
def reconcile(state_path: Path, **flags: Any) -> None:
    """Look at ambiguous rows again, and settle those that have become clear.

    A row is ambiguous when several images could be its result. Remove those that you do not want, then call
    this: with one image left the row goes on with it, with none left it is exported anew by the next run.
    Nothing is sent or removed. Exit code 3: some rows are still ambiguous.
    """
    from batchexport.cli import aftercare
    from batchexport.cli.layers import settings_for
    from batchexport.cli.logs import start_log

    start_log(talk_of())
    results = aftercare.reconciled(state_path, *settings_for(state_path, flags))
    tell(aftercare.reconciled_text(results))
    raise click.exceptions.Exit(3 if aftercare.unsettled(results) else 0)
