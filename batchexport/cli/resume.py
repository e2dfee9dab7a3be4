"""`batchexport resume`: carry on with a state file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from batchexport.cli.console import console_of
from batchexport.cli.help import Command
from batchexport.cli.run_options import job_option, working_options
from batchexport.cli.state_argument import STATE_OR_JOB

EPILOG = """\b
Examples:
  batchexport resume volumes.state --os-cloud prod
  batchexport resume jobs/nights/nightly-2026-11-24.state --job jobs/nightly.toml
  batchexport resume volumes.state --os-cloud prod --requests-per-second 2
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE|JOBFILE.toml", type=STATE_OR_JOB)
@job_option
@working_options
def resume(state_path: Path, **flags: Any) -> None:
    """Carry on with a run from its state file.

    The job list is not needed. Give the cloud as for `run`: a state file holds no way to sign in. Image
    settings stay those of the run. With --job, cloud and limits are those of a job file, the reports that it
    asks for are written, and those whom it names are told.
    """
    from batchexport.cli.beginning import carry_on
    from batchexport.cli.execution import execute
    from batchexport.cli.layers import order_to_go_on

    order = order_to_go_on(state_path, flags, os.environ)
    carry_on(order, state_path, console_of())
    console_of().sinks.take_from_job(order.job_name, order.notify, order.reports)
    raise click.exceptions.Exit(execute(state_path, order.settings, order.access, console_of()))
