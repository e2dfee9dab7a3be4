"""`batchexport cleanup`: remove unfinished images of attempts that came to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batchexport.cli.options import STATE_FILE, option
from batchexport.cli.run_options import visiting_options
from batchexport.cli.talk import tell

EPILOG = """\b
Examples:
  batchexport cleanup volumes.state --os-cloud prod
  batchexport cleanup volumes.state --os-cloud prod --yes
"""


@click.command(epilog=EPILOG)
@click.argument("state_path", metavar="STATE", type=STATE_FILE)
@option("-y", "--yes", is_flag=True, words="Remove them; without, they are only shown.")
@visiting_options
def cleanup(state_path: Path, yes: bool, **flags: Any) -> None:
    """Show, and with --yes remove, unfinished images that failed attempts left behind.

    Only images whose ids are in the state file are looked at, and only queued, saving or killed ones whose
    volume is not uploading are removed. Exit code 3: something could not be removed.
    """
    from batchexport.cli import aftercare
    from batchexport.cli.layers import settings_for

    results = aftercare.cleaned(state_path, *settings_for(state_path, flags), remove=yes)
    tell(aftercare.cleaned_text(results, remove=yes))
    raise click.exceptions.Exit(3 if aftercare.stuck(results) else 0)
