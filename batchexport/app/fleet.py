"""The workers of a database and the runs submitted to them, seen and steered from outside."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from batchexport.errors import ConfigError
from batchexport.report.fleet import Fleet
from batchexport.store.postgres import fleet
from batchexport.store.postgres.reference import DatabasePath


def fleet_of(database: Path) -> Fleet:
    """What the database tells of its workers and runs. Raises StateError."""
    path = cast(DatabasePath, database)
    return Fleet(workers=fleet.workers(path), runs=fleet.submitted_runs(path))


def drain(database: DatabasePath, *, worker_name: str | None, host: str | None) -> list[str]:
    """Ask workers to hand over; their names. Raises ConfigError where none is alive, StateError."""
    names = fleet.drain(database, worker_name=worker_name, host=host)
    if not names:
        alive = [each.worker_name for each in fleet.workers(database) if each.lease_left_s > 0]
        raise ConfigError(
            f"no worker {worker_name!r} is alive" if worker_name else f"no worker on {host} is alive",
            hint=f"workers of {database.database}: {', '.join(alive)}" if alive else "there are none",
        )
    return names


def steer(state_path: Path, action: str) -> str:
    """Pause, continue, cancel or show a submitted run; what happened. Raises ConfigError, StateError."""
    run = cast(DatabasePath, state_path)
    match action:
        case "pause":
            done = fleet.pause(run)
            return "paused: nothing new begins" if done else "was paused already, or has ended"
        case "continue":
            return "continuing" if fleet.resume(run) else "was going on already, or is cancelled"
        case "cancel":
            done = fleet.cancel(run)
            return (
                "cancelled: only what is under way goes on" if done else "was cancelled already, or has ended"
            )
        case "show":
            found = [each for each in fleet.submitted_runs(run) if each.run_name == run.run_name]
            if found:
                return f"{found[0].standing}{f': {found[0].note}' if found[0].note else ''}"
    raise ConfigError(
        f"{run}: {action} is not for a run in a database",
        hint="pause, continue and cancel are; submit the run again to change its limits",
    )
