"""`batchexport resume`: resume from a state file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batchexport.cli.console import console_of
from batchexport.cli.options import Command
from batchexport.cli.parameters import STATE_OR_JOB
from batchexport.cli.run_options import job_option, working_options

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
    """Resume a run from its state file.

    The job list is not needed. Name the cloud as for `run`: a state file contains no credentials. Image
    settings stay those of the run. With --job, cloud and limits come from a job file, and its reports and
    notifications are sent.
    """
    from batchexport.app import start
    from batchexport.cli.flags import config_of_resume
    from batchexport.cli.foreground import execute

    config = config_of_resume(state_path, flags)
    start.resume(config, state_path, console_of())
    console_of().sinks.take_from_job(config.job_name, config.notify, config.reports)
    raise click.exceptions.Exit(execute(state_path, config.settings, config.access, console_of()))
