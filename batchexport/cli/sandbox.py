"""`batchexport sandbox`: a practice cloud in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli import parameters
from batchexport.cli.cloud_options import own_weather_option
from batchexport.cli.console import TerminalConsole, console_of, err
from batchexport.cli.options import Command, console_options, option
from batchexport.cli.parameters import FILE

if TYPE_CHECKING:
    from batchexport.sandbox import SandboxSettings

EPILOG = """\b
Examples:
  batchexport sandbox --write-clouds-yaml clouds.yaml
  batchexport sandbox --profile evs --write-clouds-yaml clouds.yaml
  batchexport sandbox --profile evs --list samples/volumes.csv --servers 2 --write-clouds-yaml clouds.yaml
  batchexport sandbox --list volumes.csv --journal night.journal --fail-share 0.05
  batchexport sandbox --weather storm --write-clouds-yaml clouds.yaml
  OS_CLIENT_CONFIG_FILE=clouds.yaml openstack --os-cloud sandbox image list
"""
SHARE = click.FloatRange(0, 1)


@click.command(cls=Command, epilog=EPILOG)
@option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default="any free one",
    help="Port to listen on.",
)
@option(
    "--profile",
    type=click.Choice(["cinder", "evs"]),
    show_default="cinder",
    help="cinder: an OpenStack cloud; evs: Huawei Cloud and its relatives, also with access keys.",
)
@option(
    "--list",
    "source",
    metavar="LIST",
    shell_complete=parameters.files,
    of="sandbox",
    help="Only the volumes of this job list exist.",
)
@option(
    "--volumes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only this many made-up volumes exist.",
)
@option(
    "--servers",
    type=click.IntRange(min=1),
    metavar="N",
    help="This many servers exist, attached to the first volumes, two each; the first two share one.",
)
@option(
    "--ignore-force",
    is_flag=True,
    help="Refuse volumes in use even with force, as Cinder does by default.",
)
@option(
    "--image-data",
    "image_bytes_per_gib",
    type=click.IntRange(min=1),
    metavar="BYTES",
    show_default="no data",
    help="Bytes in images per GiB of their volumes, for deliveries; only in images that are not raw.",
)
@option(
    "--time-scale",
    type=click.FloatRange(min=0),
    metavar="X",
    show_default="0.02",
    help="Duration of exports: 1 as on a real cloud, 0 instant.",
)
@option(
    "--journal", type=FILE, metavar="FILE", help="Keep volumes and images in this file, for the next start."
)
@option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="R",
    help="Reject exports beyond R per second with 429.",
)
@option("--error-share", type=SHARE, metavar="0..1", help="Share of requests answered with 503 or 500.")
@option("--drop-share", type=SHARE, metavar="0..1", help="Share of exports accepted without an answer.")
@option("--fail-share", type=SHARE, metavar="0..1", help="Share of exports that fail halfway.")
@option("--slow-share", type=SHARE, metavar="0..1", help="Share of exports that take ten times as long.")
@own_weather_option
@option(
    "--token-life",
    "token_life_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    show_default="3600",
    help="Life of a token in seconds.",
)
@option(
    "--seed",
    type=int,
    metavar="N",
    show_default="0",
    help="Seed for random faults: the same seed picks the same victims.",
)
@option(
    "--write-clouds-yaml",
    "clouds_path",
    type=FILE,
    metavar="FILE",
    help="Write a clouds.yaml for this sandbox to this file. Default: stdout.",
)
@console_options
def sandbox(**flags: Any) -> None:
    """Run a sandbox: a practice cloud on this machine.

    It speaks the identity, volume, image and compute APIs of OpenStack, for batchexport and for the openstack
    client. Its images hold no data, unless --image-data says so. Without --list and --volumes, any volume you
    ask for exists.
    """
    from batchexport.app import run_in_loop
    from batchexport.app.sandbox import sandbox_settings
    from batchexport.cli.logs import start_log

    start_log(console_of())
    clouds_path: Path | None = flags.pop("clouds_path")
    port: int = flags.pop("port")
    run_in_loop(_serve(sandbox_settings(flags), port=port, clouds_path=clouds_path, console=console_of()))


async def _serve(
    settings: SandboxSettings, *, port: int, clouds_path: Path | None, console: TerminalConsole
) -> None:
    """Serve until a signal. Prints the clouds.yaml on stdout, or the URL where it goes to a file."""
    from batchexport.app.sandbox import serve_until_stopped, write_clouds_yaml
    from batchexport.cli.signals import stop_on_signals
    from batchexport.sandbox import clouds_yaml

    def on_start(url: str) -> None:
        if clouds_path is None:
            click.echo(clouds_yaml(url, settings.profile), nl=False)
        else:
            write_clouds_yaml(clouds_path, url, settings.profile)
            click.echo(url)
        console.info(f"the sandbox listens at {url}; Ctrl-C ends it")

    with stop_on_signals(err, first="the sandbox stops", second="exiting now") as stop:
        await serve_until_stopped(settings, port=port, stop=stop.event, on_start=on_start)
