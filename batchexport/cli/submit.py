"""`batchexport submit`: put a run into a database for workers."""

from __future__ import annotations

from typing import Any

import click

from batchexport.cli import parameters
from batchexport.cli.cloud_options import submitted_cloud_options
from batchexport.cli.console import console_of, err
from batchexport.cli.options import Command, Section, all_of, console_options, option
from batchexport.cli.parameters import dialect_option, encoding_option
from batchexport.cli.run_options import (
    again_option,
    image_options,
    state_option,
    submitted_limit_options,
)
from batchexport.cli.signals import stop_on_signals

EPILOG = """\b
Examples:
  batchexport submit march.csv --os-cloud prod --state postgresql://worker@db.example/exports
  BATCHEXPORT_DATABASE=postgresql://worker@db.example/exports batchexport submit march.toml --wait
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
@option("--wait", is_flag=True, help="Wait until the workers have ended the run.")
@console_options
def submit(source: str, wait: bool, **flags: Any) -> None:
    """Put a run into a database for workers to work on.

    The list is checked and loaded, and the workers of the database are told; nothing is exported here. Each
    worker signs in with its own clouds.yaml, so --os-cloud names a cloud that they have. Submit a list again
    to bring its run to the list as it is now, or to change limits.

    With --wait the exit code is that of `run` for the same result. Ctrl-C ends the wait; the run goes on.
    """
    from batchexport.app import run_in_loop
    from batchexport.app.follow import follow
    from batchexport.app.submit import database_run
    from batchexport.app.submit import submit as submit_run
    from batchexport.cli.flags import config_of_run
    from batchexport.cli.logs import start_log

    start_log(console_of())
    config = config_of_run(source, flags)
    started = submit_run(config, console_of())
    refused = 3 if started.refused else 0
    if not wait:
        raise click.exceptions.Exit(refused)

    async def followed() -> int:
        with stop_on_signals(err, first="waiting no longer; workers go on with the run") as stop:
            code = await follow(database_run(config.state_path), console_of(), stop=stop.event)
        return stop.exit_code or 0 if code is None else code or refused

    raise click.exceptions.Exit(run_in_loop(followed()))
