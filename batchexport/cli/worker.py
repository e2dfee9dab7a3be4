"""`batchexport worker`: work on the runs that were submitted to a database."""

from __future__ import annotations

import os
import socket

import click

from batchexport.cli.console import console_of, err
from batchexport.cli.fleet_options import database_argument, named_database
from batchexport.cli.options import Command, console_options, option
from batchexport.cli.signals import stop_on_signals

EPILOG = """\b
Examples:
  batchexport worker postgresql://worker@db.example/exports
  BATCHEXPORT_DATABASE=postgresql://worker@db.example/exports batchexport worker --slots 20
"""


@click.command(cls=Command, epilog=EPILOG)
@database_argument
@option(
    "--slots",
    type=click.IntRange(min=1),
    metavar="N",
    of="worker",
    show_default="10",
    default=10,
    help="Maximum targets to work on at once; each takes a connection to the database.",
)
@option("--name", metavar="TEXT", of="worker", show_default="HOST-PID", help="Name of this worker.")
@option("--once", is_flag=True, variable=False, help="End when no submitted run has anything left to do.")
@console_options
def worker(database: str, slots: int, name: str | None, once: bool) -> None:
    """Work on the runs that were submitted to a database.

    Takes targets that nobody works on and whose cloud is in its own clouds.yaml; each project has one owner
    at a time. On a signal it waits for the responses to its requests and hands over. Start as many as you
    like, on as many machines. If one dies, others take its targets over within 30 seconds.
    """
    from batchexport.app import run_in_loop
    from batchexport.app.worker import Worker
    from batchexport.cli.logs import start_log

    start_log(console_of())
    path = named_database(database)
    called = name or f"{socket.gethostname()}-{os.getpid()}"

    async def serve() -> int:
        with stop_on_signals(
            err,
            first="handing over; once more exits at once",
            second="exiting now; others take over when the lease is over",
        ) as stop:
            console_of().info(f"worker {called} on {path.database}: up to {slots} targets at once")
            await Worker(path, name=called, slots=slots, stop=stop.event).serve(until_done=once)
        return stop.exit_code or 0

    raise click.exceptions.Exit(run_in_loop(serve()))
