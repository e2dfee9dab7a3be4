"""`batchexport run`: work through a job list."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli import parameters
from batchexport.cli.console import Sinks, console_of, out
from batchexport.cli.options import Command, option
from batchexport.cli.parameters import encoding_option
from batchexport.cli.run_options import image_options, state_option, working_options

if TYPE_CHECKING:
    from batchexport.app.run_config import RunConfig
    from batchexport.cli.console import TerminalConsole

EPILOG = """\b
Examples:
  batchexport run volumes.csv --os-cloud sandbox
  batchexport run jobs/nightly.toml --max-failures 5%
  batchexport run volumes.csv --os-cloud prod --dry-run
  openstack volume list -f csv | batchexport run - --state all.state
"""


#: Rows whose changes were not taken: somebody has to look at them, as at failed ones.
_SOME_REFUSED = 3


@click.command(cls=Command, epilog=EPILOG)
@click.argument("source", metavar="LIST|JOBFILE.toml", shell_complete=parameters.files)
@state_option
@option("-n", "--dry-run", is_flag=True, help="Check the list and show what would be done; change nothing.")
@encoding_option
@image_options
@working_options
def run(source: str, dry_run: bool, **flags: Any) -> None:
    """Export every volume of a job list to an image.

    LIST is CSV, one id per line, JSON, JSON Lines, YAML, or the output of the OpenStack clients and APIs; -
    reads it from stdin. A job file (.toml) names a list and its settings.
    If the list already has a state file, the run resumes: new rows are added, and rows that are no longer
    listed are skipped unless they were sent.
    """
    from batchexport.app.start import start_run
    from batchexport.cli.flags import config_of_run
    from batchexport.cli.foreground import execute
    from batchexport.cli.logs import start_log
    from batchexport.errors import ConfigError
    from batchexport.intake import is_file
    from batchexport.store import stores

    config, console = config_of_run(source, flags), console_of()
    if dry_run:
        from batchexport.app.plan import dry_run_lines

        console.sinks = Sinks()
        out("\n".join(dry_run_lines(config, os.environ)))
        return
    start_log(console)
    console.sinks.take_from_job(config.job_name, config.notify, config.reports)
    if config.schedule.state_dir or config.schedule.window:
        raise click.exceptions.Exit(_run_night(config, console))
    state_path = config.state_path
    started = start_run(config, state_path, console)
    try:
        code = execute(state_path, started.settings, config.access, console)
    except ConfigError:
        # Nothing was started: leave no state file, so that the corrected command starts afresh.
        if started.is_new and is_file(config.source):
            stores.forget(state_path)
        raise
    raise click.exceptions.Exit(code or (_SOME_REFUSED if started.refused else 0))


def _run_night(config: RunConfig, console: TerminalConsole) -> int:
    from batchexport.app.allowance import Allowance
    from batchexport.app.nightly_run import run_night
    from batchexport.cli.foreground import execute
    from batchexport.cli.observe_run import report_on

    return run_night(
        config,
        console,
        work=partial(execute, console=console, allowance=Allowance.of(config.settings.limits)),
        report_on=partial(report_on, console=console),
    )
