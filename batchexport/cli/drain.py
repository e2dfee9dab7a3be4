"""`batchexport drain`: let workers hand over and end."""

from __future__ import annotations

import click

from batchexport.cli.console import console_of
from batchexport.cli.fleet_options import database_argument, named_database
from batchexport.cli.options import Command, console_options, option

EPILOG = """\b
Examples:
  batchexport drain postgresql://worker@db.example/exports --worker node1-4711
  batchexport drain postgresql://worker@db.example/exports --host node1
"""


@click.command(cls=Command, epilog=EPILOG)
@database_argument
@option("--worker", "worker_name", metavar="NAME", variable=False, help="Name of the worker.")
@option("--host", metavar="HOST", variable=False, help="All workers on this host.")
@console_options
def drain(database: str, worker_name: str | None, host: str | None) -> None:
    """Drain workers: they hand over their targets and exit.

    Each waits for the responses to its requests, starts the servers that it stopped, gives its targets back,
    and exits with 0. Other workers take them over at once.
    """
    from batchexport.app.fleet import drain as drain_workers

    if (worker_name is None) == (host is None):
        raise click.UsageError("name a worker with --worker, or all of a host with --host")
    names = drain_workers(named_database(database), worker_name=worker_name, host=host)
    console_of().info(f"asked to hand over: {', '.join(names)}")
