"""`batchexport reconcile`: settle rows that have several images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli.console import console_of, out
from batchexport.cli.listing import listed, listing_options
from batchexport.cli.options import Command, option
from batchexport.cli.parameters import STATE_OR_JOB
from batchexport.cli.run_options import visiting_options

if TYPE_CHECKING:
    from batchexport.engine import Reconciled
    from batchexport.report.listing import Listing

EPILOG = """\b
Examples:
  batchexport report volumes.state --only ambiguous
  batchexport reconcile volumes.state --os-cloud prod
  batchexport reconcile volumes.state --os-cloud prod --not-ours 3f2b19d4-0e9c-4c79-9c53-bd9ab0b2a1c5
"""


COLUMNS = ("volume_id", "image_name", "image_id", "state", "reason")


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE|JOBFILE.toml", type=STATE_OR_JOB)
@option("--ours", metavar="IMAGE_ID", multiple=True, help="This image is a row's result. Repeatable.")
@option("--not-ours", metavar="IMAGE_ID", multiple=True, help="Somebody else made this image. Repeatable.")
@listing_options(lambda: COLUMNS, of="reconcile")
@visiting_options
def reconcile(
    state_path: Path, ours: tuple[str, ...], not_ours: tuple[str, ...], form: str, **flags: Any
) -> None:
    """Settle ambiguous rows after a clean-up.

    A row is ambiguous if several images could be its result, or if the only one may be somebody else's.
    Delete the images you do not want, or say whose they are, then run this: with one image left that is its
    own, the row goes on with it; with none left, the next run exports the volume again. Sends and deletes
    nothing. Exit code 3: some rows are still ambiguous.
    """
    from batchexport.app import run_in_loop
    from batchexport.app.reconcile import reconcile_rows
    from batchexport.cli.flags import settings_of_visit
    from batchexport.cli.logs import start_log
    from batchexport.engine import Claims
    from batchexport.model import JobState

    start_log(console_of())
    claims = Claims(ours=frozenset(ours), not_ours=frozenset(not_ours))
    results = run_in_loop(reconcile_rows(state_path, *settings_of_visit(state_path, flags), claims))
    out(listed(form, _listing(results), text=lambda: _text(results)))
    raise click.exceptions.Exit(3 if any(each.state is JobState.AMBIGUOUS for each in results) else 0)


def _listing(results: Sequence[Reconciled]) -> Listing:
    """The rows as records."""
    from batchexport.report.listing import Listing

    records = [
        {
            "volume_id": each.job.volume_id,
            "image_name": each.job.image_name,
            "image_id": each.job.image_id,
            "state": str(each.state),
            "reason": each.reason,
        }
        for each in results
    ]
    return Listing(columns=COLUMNS, records=records)


def _text(results: Sequence[Reconciled]) -> str:
    """What was found of each row, and how many are still ambiguous."""
    from batchexport.model import JobState

    if not results:
        return "no row is ambiguous"
    lines = [f"{each.job.volume_id}  {each.state}: {each.reason}" for each in results]
    left = sum(each.state is JobState.AMBIGUOUS for each in results)
    lines.append(f"{len(results) - left} of {len(results)} settled, {left} still ambiguous")
    return "\n".join(lines)
