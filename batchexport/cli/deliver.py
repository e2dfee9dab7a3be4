"""`batchexport deliver`: share, copy and save the images of a run, and make volumes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli.console import console_of, err, out
from batchexport.cli.options import Command, Section, all_of, option
from batchexport.cli.parameters import STATE_FILE
from batchexport.cli.run_options import DESTINATION, drop_source_option, transfer_options, visiting_options

if TYPE_CHECKING:
    from batchexport.app.deliver import DeliverOptions, Forecast, Outcome
    from batchexport.config import CloudSettings, Settings

EPILOG = """\b
Examples:
  batchexport deliver volumes.state
  batchexport deliver volumes.state --os-cloud prod --to cloud:prod-west
  batchexport deliver volumes.state --os-cloud prod --to cloud:west --to volume:west,type=ssd
  batchexport deliver volumes.state --os-cloud prod --to file:///backups/{date}/
  batchexport deliver volumes.state --os-cloud prod --to project:7e3f1d5b90a84c62b7d0c8f4a1e69325
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("path", metavar="STATE", type=STATE_FILE)
@option(
    "--to",
    "destinations",
    type=DESTINATION,
    metavar="DESTINATION",
    multiple=True,
    of="deliver",
    help="project:ID shares, cloud:NAME copies, volume:NAME makes a volume of the copy, file:///…, s3://…, "
    "gs://… and az://… save a file with a manifest. Repeatable, in this order. Default: show what is "
    "delivered.",
)
@drop_source_option
@option("-n", "--dry-run", is_flag=True, of="deliver", help="Only check what stands against it.")
@all_of(transfer_options, section=Section.PACE)
@visiting_options
def deliver(path: Path, **flags: Any) -> None:
    """Deliver the images of a run to where they are needed.

    The image of every row that succeeded goes to every destination, exactly once: run the same
    command again to deliver what is missing. Data is compared by its hash. Exit code 3: something is not
    delivered.
    """
    from batchexport.app import run_in_loop
    from batchexport.app.deliver import DeliverOptions, deliveries_on_record, forecast
    from batchexport.cli.flags import settings_of_visit
    from batchexport.cli.logs import start_log
    from batchexport.config import DeliverySettings

    start_log(console_of())
    options = DeliverOptions(
        destinations=tuple(flags.pop("destinations")),
        max_transfers=flags.pop("max_transfers") or DeliverySettings().max_transfers,
        bandwidth=flags.pop("bandwidth"),
        drop_source=bool(flags.pop("drop_source")),
    )
    dry_run: bool = flags.pop("dry_run")
    if not options.destinations:
        outcome = deliveries_on_record(path)
        out(_text(outcome))
        raise click.exceptions.Exit(3 if outcome.open else 0)
    settings, access = settings_of_visit(path, flags)
    if dry_run:
        found = run_in_loop(forecast(path, settings, access, options))
        out(_forecast_text(found))
        raise click.exceptions.Exit(3 if any(each.problem for each in found) else 0)
    code = run_in_loop(_deliver(path, settings, access, options))
    raise click.exceptions.Exit(code)


async def _deliver(path: Path, settings: Settings, access: CloudSettings, options: DeliverOptions) -> int:
    """The exit code. A signal ends the streams; what was begun stays on record."""
    from batchexport.app.deliver import deliver as deliver_images
    from batchexport.cli.signals import stop_on_signals

    first = "the streams end; the same command goes on with what is not delivered"
    with stop_on_signals(err, first=first) as stop:
        work = asyncio.ensure_future(deliver_images(path, settings, access, options, console_of()))
        stopping = asyncio.ensure_future(stop.event.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            return stop.exit_code or 130
        outcome = await work
    out(_text(outcome))
    return 3 if outcome.open or outcome.kept else 0


def _text(outcome: Outcome) -> str:
    """Each delivery, each dropped source image, and how many are where they should be."""
    from batchexport.deliveries import DeliveryState
    from batchexport.report.text import count_of

    lines = []
    for each in outcome.deliveries:
        head = f"line {each.line}  {each.image_name}  {each.destination}  {each.state.replace('_', ' ')}"
        if each.state is DeliveryState.DELIVERED:
            lines.append(f"{head}: {each.result_id}; {each.verified_by}")
        else:
            lines.append(f"{head}: {each.reason or 'not begun'}")
    for gone in outcome.dropped:
        what = "source image deleted" if gone.is_gone else "source image kept"
        lines.append(f"{what}  {gone.image_id}: {gone.reason}")
    done = len(outcome.deliveries) - outcome.open
    lines.append(
        f"{done} of {count_of(len(outcome.deliveries), 'delivery').replace('deliverys', 'deliveries')} done"
    )
    return "\n".join(lines)


def _forecast_text(found: Sequence[Forecast]) -> str:
    total = sum(each.size_bytes or 0 for each in found)
    lines = [
        f"line {each.line}  {each.image_id}  {each.destination}  {each.problem}"
        for each in found
        if each.problem
    ]
    good = sum(each.problem is None for each in found)
    lines.append(f"{good} of {len(found)} can be delivered, {total / 2**30:.2f} GiB in all; nothing was sent")
    return "\n".join(lines)
