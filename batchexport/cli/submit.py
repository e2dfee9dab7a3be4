"""`batchexport submit`: put a run into a database for workers."""

from __future__ import annotations

from typing import Any

import click

from batchexport.cli import parameters
from batchexport.cli.cloud_options import submitted_cloud_options
from batchexport.cli.console import console_of
from batchexport.cli.options import Command, Section, all_of, console_options
from batchexport.cli.parameters import dialect_option, encoding_option
from batchexport.cli.run_options import (
    again_option,
    image_options,
    state_option,
    submitted_limit_options,
)

EPILOG = """\b
Examples:
  batchexport submit march.csv --os-cloud prod --state postgresql://worker@db.example/exports
  BATCHEXPORT_DATABASE=postgresql://worker@db.example/exports batchexport submit march.csv --os-cloud prod
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("source", metavar="LIST|JOBFILE.toml", shell_complete=parameters.files)
@state_option
@encoding_option
@image_options
@again_option
@submitted_limit_options
@all_of(dialect_option, section=Section.CLOUD)
@submitted_cloud_options
@console_options
def submit(source: str, **flags: Any) -> None:
    """Put a run into a database for workers to work on.

    The list is checked and loaded, and the workers of the database are told; nothing is exported here. Each
    worker signs in with its own clouds.yaml, so --os-cloud names a cloud that they have. Submit a list again
    to bring its run to the list as it is now, or to change limits.
    """
    from batchexport.app.submit import submit as submit_run
    from batchexport.cli.flags import config_of_run
    from batchexport.cli.logs import start_log

    start_log(console_of())
    started = submit_run(config_of_run(source, flags), console_of())
    raise click.exceptions.Exit(3 if started.refused else 0)
