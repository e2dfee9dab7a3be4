"""`batchexport db`: the PostgreSQL database that runs can be kept in."""

from __future__ import annotations

import click

from batchexport.cli.console import console_of, out
from batchexport.cli.fleet_options import database_argument, named_database
from batchexport.cli.options import Command, console_options

EPILOG = """\b
Examples:
  batchexport db init postgresql://owner@db.example/exports
  batchexport db check postgresql://worker@db.example/exports
"""
_INIT_EPILOG = """\b
Examples:
  batchexport db init postgresql://owner@db.example/exports
"""
_UPGRADE_EPILOG = """\b
Examples:
  batchexport db upgrade postgresql://owner@db.example/exports
"""
_CHECK_EPILOG = """\b
Examples:
  batchexport db check postgresql://worker@db.example/exports
  BATCHEXPORT_DATABASE=postgresql://worker@db.example/exports batchexport db check
"""
#: A database that would lose what it acknowledged.
_UNSAFE = 5


@click.group(epilog=EPILOG)
def db() -> None:
    """Prepare, upgrade or check a PostgreSQL database for runs.

    DATABASE is postgresql://USER@HOST/DATABASE, or the variable BATCHEXPORT_DATABASE. Several machines can
    work on runs that are kept there.
    """


@db.command(cls=Command, epilog=_INIT_EPILOG)
@database_argument
@console_options
def init(database: str) -> None:
    """Prepare a database for runs, as its owner.

    Makes the tables, and the roles batchexport_worker and batchexport_reader where they are missing. A
    database that is already prepared is left unchanged.
    """
    from batchexport.store.postgres.admin import initialise

    path = named_database(database)
    words = "is prepared" if initialise(path) else "was prepared already: nothing was changed"
    console_of().info(f"{path.database} {words}")


@db.command(cls=Command, epilog=_UPGRADE_EPILOG)
@database_argument
@console_options
def upgrade(database: str) -> None:
    """Bring a database to the format of this batchexport, as its owner.

    All or nothing. Programs that know only the previous format keep working.
    """
    from batchexport.store.postgres.admin import upgrade as upgrade_database

    path = named_database(database)
    before, now = upgrade_database(path)
    words = f"is of format {now}" if before == now else f"was of format {before}, and is of format {now}"
    console_of().info(f"{path.database} {words}")


@db.command(cls=Command, epilog=_CHECK_EPILOG)
@database_argument
@console_options
def check(database: str) -> None:
    """Check that runs are safe in a database.

    Fails for a database that may lose what it acknowledged (fsync off), and warns of a standby that may lag.
    """
    from batchexport.store.postgres import admin

    findings = admin.check(named_database(database))
    for each in findings:
        mark = "error" if each.is_unsafe else "warning" if each.is_warning else "ok"
        out(f"{mark:<8} {each.words}")
    if any(each.is_unsafe for each in findings):
        raise click.exceptions.Exit(_UNSAFE)
