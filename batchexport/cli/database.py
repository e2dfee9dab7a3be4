"""Runs in a database as arguments of commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from batchexport.errors import ConfigError

#: More runs than these are counted, not named.
_MAX_NAMES = 5


def run_named(text: str, environment: Mapping[str, str]) -> Path | None:
    """The run in a database that this argument names, which is there; None = it names none, but a file.

    A bare name stands for a run in the database of BATCHEXPORT_DATABASE unless there is a file of that name.
    Raises ConfigError where there is no such run, StateError where the database cannot be asked.
    """
    if not text.startswith(("postgresql:", "postgres:")):
        is_name = "/" not in text and not text.endswith((".toml", ".state")) and not Path(text).exists()
        if not (is_name and environment.get("BATCHEXPORT_DATABASE")):
            return None
    from batchexport.store.postgres.address import database_of
    from batchexport.store.postgres.other_runs import run_names
    from batchexport.store.postgres.reference import database_path, is_database

    if is_database(text):
        run = database_path(text)
    else:
        database = database_of(environment)
        assert database is not None
        run = database_path(f"{database}/{text}")
    if run.exists():
        return run
    names = run_names(run)
    shown = ", ".join(names[:_MAX_NAMES]) + (
        f" and {len(names) - _MAX_NAMES} more" if names[_MAX_NAMES:] else ""
    )
    hint = f"runs in {run.database}: {shown}" if names else f"no run is in {run.database} yet"
    if not run.run_name:
        raise ConfigError(f"{run}: names a database, and no run in it", hint=hint)
    raise ConfigError(f"{run}: no such run", hint=hint)
