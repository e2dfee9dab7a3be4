"""`batchexport schedule emit`: units, crontabs and manifests that start a job."""

from __future__ import annotations

import time
from pathlib import Path

import click

from batchexport import __version__
from batchexport.cli.help import Command
from batchexport.cli.options import STATE_FILE, option, talk_options
from batchexport.cli.talk import say

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

    None of it holds a secret. The job file stays the only place of the schedule: after a change there, emit
    anew.
    """
    from batchexport.cli.emitted import emitted
    from batchexport.whole_file import write_whole

    for name, text in emitted(kind, job_path, image=image, now=time.time()).items():
        if output is None:
            click.echo(text)
        else:
            write_whole(output / name, [text])
            say(f"wrote {output / name}")
