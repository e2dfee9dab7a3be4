"""`batchexport restore`: upload saved images to an image service again."""

from __future__ import annotations

from typing import Any

import click

from batchexport.cli import parameters
from batchexport.cli.console import console_of, out
from batchexport.cli.options import Command, Section, all_of
from batchexport.cli.run_options import transfer_options, visiting_options

EPILOG = """\b
Examples:
  batchexport restore backups/20270311/db-1.qcow2.manifest.json --os-cloud prod
  batchexport restore backups/20270311/*.manifest.json --os-cloud prod --max-transfers 8
  batchexport restore s3://backups/20270311/db-1.qcow2.manifest.json --os-cloud prod
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("manifests", metavar="MANIFEST...", nargs=-1, required=True, shell_complete=parameters.files)
@all_of(transfer_options, section=Section.PACE)
@visiting_options
def restore(manifests: tuple[str, ...], **flags: Any) -> None:
    """Upload images that were saved as files to an image service.

    Each manifest names its file, which stands beside it. The data is compared with the hash in the manifest.
    To restore the same manifest again does nothing. Exit code 3: something was not restored.
    """
    from batchexport.app import run_in_loop
    from batchexport.app.restore import restore as restore_images
    from batchexport.cli.flags import settings_of_account
    from batchexport.cli.logs import start_log
    from batchexport.config import DeliverySettings

    start_log(console_of())
    transfers = flags.pop("max_transfers") or DeliverySettings().max_transfers
    bandwidth = flags.pop("bandwidth")
    settings, access = settings_of_account(flags)
    restoring = restore_images(
        list(dict.fromkeys(manifests)),
        settings,
        access,
        max_transfers=transfers,
        bandwidth=bandwidth,
        console=console_of(),
    )
    results = run_in_loop(restoring)
    for each in results:
        out(f"{each.url}: {f'image {each.image_id}' if each.image_id else 'failed'}; {each.reason}")
    raise click.exceptions.Exit(3 if any(each.image_id is None for each in results) else 0)
