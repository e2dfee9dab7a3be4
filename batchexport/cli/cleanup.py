"""`batchexport cleanup`: remove unfinished images of attempts that came to nothing, and images superseded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli.console import console_of, out
from batchexport.cli.listing import listed, listing_options
from batchexport.cli.options import Command, option
from batchexport.cli.parameters import STATE_FILE
from batchexport.cli.run_options import visiting_options

if TYPE_CHECKING:
    from batchexport.engine import Cleaned
    from batchexport.report.listing import Listing

EPILOG = """\b
Examples:
  batchexport cleanup volumes.state --os-cloud prod
  batchexport cleanup volumes.state --os-cloud prod --yes
  batchexport cleanup jobs/nightly.toml
"""


COLUMNS = ("target", "volume_id", "image_id", "image_name", "found", "reason")


@click.command(cls=Command, epilog=EPILOG)
@click.argument("path", metavar="STATE|JOBFILE.toml", type=STATE_FILE)
@option("-y", "--yes", is_flag=True, of="cleanup", help="Delete them. Default: only show them.")
@option("-n", "--dry-run", is_flag=True, of="cleanup", help="Only show them, even with --yes.")
@listing_options(lambda: COLUMNS, of="cleanup")
@visiting_options
def cleanup(path: Path, yes: bool, dry_run: bool, form: str, **flags: Any) -> None:
    """Show or delete unfinished images of failed attempts.

    With a job file: the images of the last night's volumes, each with the rule of [images] that keeps it, or
    the reason why it goes or stays.

    Only considers images whose ids are in a state file, and deletes them only while no other process works on
    that file. Unfinished images are deleted if they are queued, saving or killed and their volume is not
    uploading. Exit code 3: something could not be deleted.
    """
    from batchexport.app import run_in_loop
    from batchexport.app.cleanup import clean_up_images
    from batchexport.app.retention import outdated_of_job
    from batchexport.app.run_config import is_job_file
    from batchexport.cli.flags import config_of_run, settings_of_visit
    from batchexport.cli.logs import start_log
    from batchexport.engine import Found

    start_log(console_of())
    remove = yes and not dry_run
    if is_job_file(path):
        config, kind = config_of_run(str(path), flags), "superseded"
        results = run_in_loop(outdated_of_job(config, console_of(), remove=remove))
    else:
        settings, access = settings_of_visit(path, flags)
        results = run_in_loop(clean_up_images(path, settings, access, remove=remove))
        kind = "of attempts that came to nothing"
    out(listed(form, _listing(results), text=lambda: _text(results, kind, remove=remove)))
    raise click.exceptions.Exit(3 if any(each.found is Found.STUCK for each in results) else 0)


def _listing(results: Sequence[Cleaned]) -> Listing:
    """The images as records."""
    from batchexport.report.listing import Listing

    records = [
        {
            "target": str(each.image.target),
            "volume_id": each.image.volume_id,
            "image_id": each.image.image_id,
            "image_name": each.image.image_name,
            "found": str(each.found),
            "reason": each.reason,
        }
        for each in results
    ]
    return Listing(columns=COLUMNS, records=records)


def _text(results: Sequence[Cleaned], kind: str, *, remove: bool) -> str:
    """What was found of each image, how many are of this kind, and what to do next."""
    from batchexport.engine import Found
    from batchexport.report.text import count_of

    shown = [each for each in results if each.found is not Found.GONE]
    lines = [f"{each.image.image_id}  {each.image.image_name}  {each.found}: {each.reason}" for each in shown]
    gone = len(results) - len(shown)
    retained = sum(each.found is Found.RETAINED for each in results)
    stay = f"; {count_of(retained, 'image')} retained" if retained else ""
    lines.append(f"{count_of(len(results) - retained, 'image')} {kind}; {gone} gone already{stay}")
    if not remove and any(each.found is Found.LEFT_OVER for each in shown):
        lines.append("nothing was removed; the same command with --yes removes what is left over")
    return "\n".join(lines)
