"""`batchexport retry`: try the failed rows of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batchexport.cli.console import console_of
from batchexport.cli.options import Command, option
from batchexport.cli.parameters import STATE_OR_JOB
from batchexport.cli.run_options import job_option, working_options

EPILOG = """\b
Examples:
  batchexport retry volumes.state --os-cloud prod
  batchexport retry jobs/nights/nightly-2026-11-24.state --job jobs/nightly.toml
  batchexport retry volumes.state --os-cloud prod --skipped --in-use force
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE|JOBFILE.toml", type=STATE_OR_JOB)
@option("--skipped", is_flag=True, help="Retry the skipped rows as well.")
@job_option
@working_options
def retry(state_path: Path, skipped: bool, **flags: Any) -> None:
    """Retry the failed rows.

    Their attempts count from zero again, and the run resumes. Deliveries that failed are tried again,
    and nothing is exported a second time. Ambiguous rows stay as they are.
    """
    from batchexport.app.start import resume
    from batchexport.cli.flags import config_of_resume
    from batchexport.cli.foreground import execute
    from batchexport.model import JobState
    from batchexport.report.text import count_of
    from batchexport.store import count_deliveries, stores

    again = {JobState.FAILED, JobState.SKIPPED} if skipped else {JobState.FAILED}
    config = config_of_resume(state_path, flags)
    resume(config, state_path, console_of())
    with stores.read(state_path) as reader:
        tallies, delivered = reader.overview().tallies, count_deliveries(reader)
    rows = sum(tally.jobs for tally in tallies if tally.state in again)
    tried = [f"{count_of(rows, 'row')} to retry"] if rows else []
    if delivered and delivered.failed:
        tried.append(f"{delivered.failed} failed deliveries to retry")
    console_of().info(", ".join(tried) or _nothing_to_try_again(skipped))
    console_of().sinks.take_from_job(config.job_name, config.notify, config.reports)
    raise click.exceptions.Exit(
        execute(state_path, config.settings, config.access, console_of(), again=again)
    )


def _nothing_to_try_again(skipped: bool) -> str:
    return f"no row has failed{' or was skipped' if skipped else ''}: nothing to retry"
