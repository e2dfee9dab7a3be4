"""`batchexport verify`: look again at the images that a run made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from batchexport.cli.console import console_of, out
from batchexport.cli.listing import listed, listing_options
from batchexport.cli.options import Command
from batchexport.cli.parameters import STATE_OR_JOB, dialect_option
from batchexport.cli.run_options import visiting_options

EPILOG = """\b
Examples:
  batchexport verify volumes.state --os-cloud prod
  batchexport verify volumes.state --os-cloud prod -f json
"""


def columns() -> Sequence[str]:
    """The columns of the list of findings."""
    from batchexport.report.verification import MISMATCH_COLUMNS

    return MISMATCH_COLUMNS


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE|JOBFILE.toml", type=STATE_OR_JOB)
@listing_options(columns, of="verify", help="Output format; csv and value list what is wrong.")
@dialect_option
@visiting_options
def verify(state_path: Path, form: str, **flags: Any) -> None:
    """Check every image of a run again.

    Is it active, complete, and as asked for? If the cloud gives a hash, it is compared with the one recorded
    when the image became active. Changes nothing. Exit code 3: an image is gone, or not as asked for.
    """
    from batchexport.app import run_in_loop
    from batchexport.app.verify import verify_images
    from batchexport.cli.flags import settings_of_visit
    from batchexport.cli.logs import start_log
    from batchexport.report.verification import verification_json, verification_listing, verification_text
    from batchexport.store import stores

    start_log(console_of())
    found = run_in_loop(verify_images(state_path, *settings_of_visit(state_path, flags)))
    with stores.read(state_path) as reader:
        names = reader.volume_names({row.row.volume_id for each in found.values() for row in each.kept})
    out(
        listed(
            form,
            verification_listing(found, names),
            text=lambda: verification_text(found, names),
            document=lambda: verification_json(found, names),
        )
    )
    raise click.exceptions.Exit(0 if all(each.passed for each in found.values()) else 3)
