"""`batchexport retry`: try the failed rows of a run again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from batchexport.cli.console import console_of
from batchexport.cli.help import Command
from batchexport.cli.options import option
from batchexport.cli.run_options import job_option, working_options
from batchexport.cli.state_argument import STATE_OR_JOB

EPILOG = """\b
Examples:
  batchexport retry volumes.state --os-cloud prod
  batchexport retry jobs/nights/nightly-2026-11-24.state --job jobs/nightly.toml
  batchexport retry volumes.state --os-cloud prod --skipped --in-use force
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE|JOBFILE.toml", type=STATE_OR_JOB)
@option("--skipped", is_flag=True, words="Try the skipped rows again too.")
@job_option
@working_options
def retry(state_path: Path, skipped: bool, **flags: Any) -> None:
    """Try the failed rows again.

    They are put back to pending, their attempts are counted anew, and the run is carried on as `resume` does.
    Ambiguous rows stay as they are.
    """
    from batchexport.cli.beginning import carry_on
    from batchexport.cli.execution import execute
    from batchexport.cli.layers import order_to_go_on
    from batchexport.model import JobState
    from batchexport.report.text import count_of
    from batchexport.store import StateReader

    again = {JobState.FAILED, JobState.SKIPPED} if skipped else {JobState.FAILED}
    order = order_to_go_on(state_path, flags, os.environ)
    carry_on(order, state_path, console_of())
    with StateReader(state_path) as reader:
        tallies = reader.tallies()
    rows = sum(tally.jobs for tally in tallies if tally.state in again)
    tried = f"{count_of(rows, 'row')} to be tried again"
    console_of().info(tried if rows else _nothing_to_try_again(skipped))
    console_of().sinks.take_from_job(order.job_name, order.notify, order.reports)
    raise click.exceptions.Exit(execute(state_path, order.settings, order.access, console_of(), again=again))


def _nothing_to_try_again(skipped: bool) -> str:
    return f"no row has failed{' or was skipped' if skipped else ''}: there is nothing to try again"
