"""`batchexport resume`: carry on with a state file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batchexport.cli.options import STATE_FILE
from batchexport.cli.run_options import working_options
from batchexport.cli.talk import talk_of

EPILOG = """\b
Examples:
  batchexport resume volumes.state --os-cloud prod
  batchexport resume volumes.state --os-cloud prod --requests-per-second 2
"""


@click.command(epilog=EPILOG)
@click.argument("state_path", metavar="STATE", type=STATE_FILE)
@working_options
def resume(state_path: Path, **flags: Any) -> None:
    """Carry on with a run from its state file.

    The job list is not needed. Give the cloud as for `run`: a state file holds no way to sign in. Image
    settings stay those of the run.
    """
    from batchexport.cli.execution import execute
    from batchexport.cli.layers import settings_for

    settings, access = settings_for(state_path, flags)
    raise click.exceptions.Exit(execute(state_path, settings, access, talk_of()))
