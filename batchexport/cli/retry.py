"""`batchexport retry`: try the failed rows of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batchexport.cli.options import STATE_FILE, option
from batchexport.cli.run_options import working_options
from batchexport.cli.talk import talk_of

EPILOG = """\b
Examples:
  batchexport retry volumes.state --os-cloud prod
  batchexport retry volumes.state --os-cloud prod --skipped --in-use force
"""


@click.command(epilog=EPILOG)
@click.argument("state_path", metavar="STATE", type=STATE_FILE)
@option("--skipped", is_flag=True, words="Try the skipped rows again too.")
@working_options
def retry(state_path: Path, skipped: bool, **flags: Any) -> None:
    """Try the failed rows again.

    They are put back to pending, their attempts are counted anew, and the run is carried on as `resume` does.
    Ambiguous rows stay as they are.
    """
    from batchexport.cli.execution import execute
    from batchexport.cli.layers import settings_for
    from batchexport.model import JobState

    again = {JobState.FAILED, JobState.SKIPPED} if skipped else {JobState.FAILED}
    settings, access = settings_for(state_path, flags)
    raise click.exceptions.Exit(execute(state_path, settings, access, talk_of(), again=again))
