"""`batchexport reconcile`: settle rows that have several images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batchexport.cli.console import console_of, out
from batchexport.cli.help import Command
from batchexport.cli.options import option
from batchexport.cli.run_options import visiting_options
from batchexport.cli.state_argument import STATE_OR_JOB

EPILOG = """\b
Examples:
  batchexport report volumes.state --only ambiguous
  batchexport reconcile volumes.state --os-cloud prod
  batchexport reconcile volumes.state --os-cloud prod --not-ours 3f2b19d4-0e9c-4c79-9c53-bd9ab0b2a1c5
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE|JOBFILE.toml", type=STATE_OR_JOB)
@option("--ours", metavar="IMAGE_ID", multiple=True, words="This image is the row's result. Repeatable.")
@option("--not-ours", metavar="IMAGE_ID", multiple=True, words="Somebody else made this image. Repeatable.")
@visiting_options
def reconcile(state_path: Path, ours: tuple[str, ...], not_ours: tuple[str, ...], **flags: Any) -> None:
    """Look at ambiguous rows again, and settle those that have become clear.

    A row is ambiguous when several images could be its result, or one that somebody else may have made.
    Delete those that you do not want, or say whose they are, then call this: with one image left that is its
    own, the row goes on with it; with none left, the next run exports it anew. Nothing is sent or removed.
    Exit code 3: some rows are still ambiguous.
    """
    from batchexport.cli import aftercare
    from batchexport.cli.layers import settings_for
    from batchexport.cli.logs import start_log
    from batchexport.engine import Claims

    start_log(console_of())
    claims = Claims(ours=frozenset(ours), not_ours=frozenset(not_ours))
    results = aftercare.reconciled(state_path, *settings_for(state_path, flags), claims)
    out(aftercare.reconciled_text(results))
    raise click.exceptions.Exit(3 if aftercare.unsettled(results) else 0)
