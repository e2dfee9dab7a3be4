"""`batchexport run`: work through a job list."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli import completing
from batchexport.cli.console import console_of, out
from batchexport.cli.help import Command
from batchexport.cli.options import encoding_option, option
from batchexport.cli.run_options import image_options, state_option, working_options
from batchexport.cli.sinks import Sinks

if TYPE_CHECKING:
    from batchexport.cli.layers import Order

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
@click.argument("source", metavar="LIST|JOBFILE.toml", shell_complete=completing.files)
@state_option
@option("-n", "--dry-run", is_flag=True, words="Check the list and show what would be done; send nothing.")
@encoding_option
@image_options
@working_options
def run(source: str, dry_run: bool, **flags: Any) -> None:
    """Export every volume of a job list to an image.

    LIST is CSV, ids one a line, JSON, JSON Lines, YAML, or a table or answer of the OpenStack clients and
    APIs; - reads it from stdin. A job file (.toml) names a list and the settings.
    Run on a list whose state file is there already, it carries on: new rows are taken in, rows that are no
    longer listed are left out unless they were sent.
    """
    from batchexport.cli.beginning import begin_with
    from batchexport.cli.execution import execute
    from batchexport.cli.layers import order_from
    from batchexport.cli.logs import start_log
    from batchexport.errors import ConfigError
    from batchexport.intake import is_file
    from batchexport.store import discard_untried

    order = order_from(source, flags, os.environ)
    if dry_run:
        console_of().sinks = Sinks()
        out(_preview(order))
        return
    start_log(console_of())
    console_of().sinks.take_from_job(order.job_name, order.notify, order.reports)
    if order.nights.state_dir or order.nights.window:
        from batchexport.cli.night import spend_night

        raise click.exceptions.Exit(spend_night(order, console_of()))
    state_path = order.state_path
    begun = begin_with(order, state_path, console_of())
    try:
        code = execute(state_path, begun.settings, order.access, console_of())
    except ConfigError:
        # Nothing was started, and nothing is left of it: what is mended now begins anew.
        if begun.is_new and is_file(order.source):
            discard_untried(state_path)
        raise
    raise click.exceptions.Exit(code or (_SOME_REFUSED if begun.refused else 0))


def _preview(order: Order) -> str:
    """What the run would do. Raises JobListError if the list has problems."""
    from batchexport import intake
    from batchexport.cli.beginning import already_there, differences_lines

    volumes, state_path = "the volumes that fit [discover] when the run begins", order.state_path
    changes: list[str] = []
    if order.wanted is None:
        its_own = state_path if order.nights.state_dir is None else None
        checked = intake.check(order.source, order.settings, dialect=order.dialect, state_path=its_own)
        changes = differences_lines(checked.differences)
        volumes = f"{checked.rows} volumes of {order.source}"
    limits, image = order.settings.limits, order.settings.image
    rate = (
        f"{limits.requests_per_second:g} requests/s"
        if limits.requests_per_second
        else "no limit of requests/s"
    )
    there = "would be made"
    if state_path.exists():
        there = f"{already_there(state_path)}: would carry on with it"
    state = f"state file: {state_path} ({there})"
    if order.nights.state_dir is not None:
        state = f"state files: one a night in {order.nights.state_dir}"
    cloud = order.access.cloud or os.environ.get("OS_CLOUD") or "by the OS_ variables"
    lines = [
        f"would export {volumes} to images",
        f"cloud: {cloud}, unless a row names one",
        f"image name: {order.settings.name_template}, unless a row names one",
        f"disk format: {image.disk_format or 'the default of the cloud'}, unless a row names one",
        f"limits: {rate}, {limits.max_exports} exports at once, {limits.retries} retries",
        f"volumes in use: {order.settings.in_use}",
        state,
        *changes,
        "nothing was sent, nothing was written",
    ]
    return "\n".join(lines)
