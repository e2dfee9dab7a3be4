"""`batchexport plan`: look at every row of a list in the cloud, and send nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from batchexport.cli import parameters
from batchexport.cli.console import console_of, out
from batchexport.cli.listing import listed, listing_options
from batchexport.cli.options import Command
from batchexport.cli.parameters import encoding_option
from batchexport.cli.run_options import image_options, planning_options

EPILOG = """\b
Examples:
  batchexport plan volumes.csv --os-cloud prod
  batchexport plan jobs/nightly.toml -f json
  batchexport plan volumes.csv --os-cloud prod && batchexport run volumes.csv --os-cloud prod
"""


def columns() -> Sequence[str]:
    """The columns of the list of findings."""
    from batchexport.report.plan import FINDING_COLUMNS

    return FINDING_COLUMNS


@click.command(cls=Command, epilog=EPILOG)
@click.argument("source", metavar="LIST|JOBFILE.toml", shell_complete=parameters.files)
@listing_options(columns, of="plan", help="Output format; csv and value list the findings.")
@encoding_option
@image_options
@planning_options
def plan(source: str, form: str, **flags: Any) -> None:
    """Check in the cloud which rows of a list can be exported. Changes nothing.

    Reads pages of volumes and images. Exit code 3: some rows cannot be exported; `run` would fail them.
    """
    from batchexport.app import run_in_loop
    from batchexport.app.plan import expected_changes, plan_list
    from batchexport.cli.flags import config_of_run
    from batchexport.cli.logs import start_log
    from batchexport.report.plan import plan_json, plan_listing, plan_text

    start_log(console_of())
    config = config_of_run(source, flags)
    for line in expected_changes(config):
        console_of().info(line)
    summaries = run_in_loop(plan_list(config))
    limits = config.settings.limits
    out(
        listed(
            form,
            plan_listing(summaries),
            text=lambda: plan_text(summaries, limits),
            document=lambda: plan_json(summaries, limits),
        )
    )
    cannot = any(summary.cannot or summary.undeliverable for summary in summaries.values())
    raise click.exceptions.Exit(3 if cannot else 0)
