"""`batchexport schedule`: when jobs start, and who starts them."""

from __future__ import annotations

import click

from batchexport.cli.schedule_emit import emit
from batchexport.cli.schedule_next import next_starts
from batchexport.cli.schedule_run import keep

EPILOG = """\b
Examples:
  batchexport schedule next jobs/nightly.toml
  batchexport schedule emit systemd jobs/nightly.toml
  batchexport schedule run jobs/nightly.toml jobs/weekly.toml
"""


@click.group(epilog=EPILOG)
def schedule() -> None:
    """Tell when jobs start, have something start them, or start them from here.

    A job file says when in [schedule]; without one, a job starts when its [window] opens. Whoever starts it,
    the program itself looks whether the window is open.
    """


for _command in (next_starts, emit, keep):
    schedule.add_command(_command)
