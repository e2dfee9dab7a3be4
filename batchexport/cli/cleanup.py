"""`batchexport cleanup`: remove unfinished images of attempts that came to nothing, and images made old."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from batchexport.cli.console import console_of, out
from batchexport.cli.help import Command
from batchexport.cli.options import STATE_FILE, option
from batchexport.cli.run_options import visiting_options

EPILOG = """\b
Examples:
  batchexport cleanup volumes.state --os-cloud prod
  batchexport cleanup volumes.state --os-cloud prod --yes
  batchexport cleanup jobs/nightly.toml
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("path", metavar="STATE|JOBFILE.toml", type=STATE_FILE)
@option("-y", "--yes", is_flag=True, of="cleanup", words="Remove them; without, they are only shown.")
@option("-n", "--dry-run", is_flag=True, of="cleanup", words="Only show them, whatever --yes says.")
@visiting_options
def cleanup(path: Path, yes: bool, dry_run: bool, **flags: Any) -> None:
    """Show, and with --yes remove, unfinished images that failed attempts left behind.

    Of a job file: the images of the volumes of its last night, each with the rule of [images] that keeps it,
    or why it goes or is left.

    Only images whose ids are in a state file are looked at, and removed only while no other process works on
    it. Of unfinished ones, those that are queued, saving or killed and whose volume is not uploading are
    removed. Exit code 3: something could not be removed.
    """
    from batchexport.cli import aftercare
    from batchexport.cli.layers import is_job_file, order_from, settings_for
    from batchexport.cli.logs import start_log
    from batchexport.cli.pruning import outdated_of_job

    start_log(console_of())
    remove = yes and not dry_run
    if is_job_file(path):
        results, kind = outdated_of_job(order_from(str(path), flags, os.environ), remove=remove), "made old"
    else:
        results = aftercare.cleaned(path, *settings_for(path, flags), remove=remove)
        kind = "of attempts that came to nothing"
    out(aftercare.cleaned_text(results, kind, remove=remove))
    raise click.exceptions.Exit(3 if aftercare.stuck(results) else 0)
