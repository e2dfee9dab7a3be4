"""`batchexport schedule emit`: units, crontabs and manifests that start a job."""

from __future__ import annotations

import time
from pathlib import Path

import click

from batchexport import __version__
from batchexport.cli.console import err
from batchexport.cli.help import Command
from batchexport.cli.options import STATE_FILE, option, talk_options

EPILOG = """\b
Examples:
  batchexport schedule emit systemd jobs/nightly.toml --output /etc/systemd/system
  batchexport schedule emit cron jobs/nightly.toml
  batchexport schedule emit kubernetes /jobs/nightly.toml --image registry.example/batchexport:1
"""
KINDS = ["systemd", "cron", "kubernetes"]


@click.command(cls=Command, epilog=EPILOG)
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("job_path", metavar="JOBFILE", type=STATE_FILE)
@option(
    "-o",
    "--output",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    show_default="stdout",
    of="emit",
    words="Write the files into this folder.",
)
@option(
    "--image",
    default=f"batchexport:{__version__}",
    show_default=True,
    metavar="NAME",
    words="Container image whose entry point is batchexport (kubernetes).",
)
@talk_options
def emit(kind: str, job_path: Path, output: Path | None, image: str) -> None:
    """Print what makes systemd, cron or Kubernetes start a job.

    None of it holds a secret, and no file that starts another job is replaced. The job file stays the only
    place of the schedule: after a change there, emit anew.
    """
    from batchexport.cli.emitted import emitted, write_emitted

    texts = emitted(kind, job_path, image=image, now=time.time())
    if output is None:
        for text in texts.values():
            click.echo(text)
        return
    for path in write_emitted(output, job_path, texts):
        err(f"wrote {path}")
