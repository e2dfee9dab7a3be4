"""What the commands about workers have in common: the database that they are asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from batchexport.store.postgres.reference import DatabasePath


def database_argument(command: Any) -> Any:
    """The argument DATABASE, or the variable."""
    return click.argument("database", metavar="DATABASE", envvar="BATCHEXPORT_DATABASE")(command)


def named_database(database: str) -> DatabasePath:
    """The database that is named: by an argument without a password, or by the variable.

    Raises ConfigError for an address that is none, or that names a run.
    """
    from batchexport.errors import ConfigError
    from batchexport.store.postgres.address import database_of
    from batchexport.store.postgres.reference import database_path

    context = click.get_current_context()
    if context.get_parameter_source("database") is click.core.ParameterSource.ENVIRONMENT:
        found = database_of()
        assert found is not None
        return found
    path = database_path(database)
    if path.run_name:
        raise ConfigError(f"{path}: names a run; a database is postgresql://USER@HOST/DATABASE")
    return path
