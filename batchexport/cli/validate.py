"""`batchexport validate`: check a job list without a cloud."""

from __future__ import annotations

from typing import Any

import click

from batchexport.cli import parameters
from batchexport.cli.console import out
from batchexport.cli.options import Command, console_options
from batchexport.cli.parameters import dialect_option, encoding_option

EPILOG = """\b
Examples:
  batchexport validate volumes.csv
  batchexport validate --dialect evs jobs/nightly.toml
  openstack volume list -f csv | batchexport validate -
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("source", metavar="LIST", shell_complete=parameters.files)
@dialect_option
@encoding_option
@console_options
def validate(source: str, **flags: Any) -> None:
    """Check a job list and report every problem.

    LIST is CSV, one id per line, JSON, JSON Lines, YAML, or the output of the OpenStack clients and APIs, or
    a job file (.toml); - reads it from stdin. Works offline and changes nothing.
    """
    from batchexport import intake
    from batchexport.app.run_config import is_job_file
    from batchexport.cli.flags import config_of_run
    from batchexport.report.text import count_of

    config = config_of_run(source, flags)
    if config.volume_filter is not None:
        out(f"{source}: no problems; its list is discovered; `batchexport plan {source}` shows it")
        return
    if is_job_file(source):
        out(f"{source}: no problems in the job file")
    checked = intake.check(config.source, config.settings, dialect=config.dialect)
    out(f"{config.source}: {count_of(checked.rows, 'row')}, no problems")
