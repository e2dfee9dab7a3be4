"""Put a run into a database for workers to work on."""

from __future__ import annotations

import asyncio
import os

from batchexport.app import embedded_sandbox
from batchexport.app.console import Console
from batchexport.app.run import confirm_stops, warn_of_idle_options
from batchexport.app.run_config import RunConfig
from batchexport.app.start import Started, start_run
from batchexport.config.run_plan import RunPlan, plan_of
from batchexport.config.schedule import ScheduleConfig
from batchexport.errors import ConfigError
from batchexport.intake import is_file
from batchexport.store import StoreRef, read_row_destinations, stores
from batchexport.store.postgres import fleet
from batchexport.store.postgres.reference import DatabasePath


def submit(config: RunConfig, console: Console) -> Started:
    """Load the list into its database, or bring the run there to it, and let workers work on it.

    Raises ConfigError for what workers cannot be given, before anything is loaded; otherwise what
    `start_run` raises.
    """
    plan = checked_plan(config)
    run = database_run(config.state_path)
    started = start_run(config, run, console)
    try:
        _check_rows(run)
        asyncio.run(confirm_stops(run, started.settings))
        warn_of_idle_options(run, started.settings, console)
    except ConfigError:
        if started.is_new and is_file(config.source):
            stores.forget(run)
        raise
    fleet.submit(run, plan.encode())
    console.info(f"submitted to the workers of {run.database}: `batchexport status {run}` shows its progress")
    return started


def _check_rows(run: DatabasePath) -> None:
    """Raise ConfigError where rows ask for what workers do not do."""
    with stores.read(run) as reader:
        if read_row_destinations(reader):
            raise ConfigError(
                f"{run}: rows of the list name destinations, and workers deliver nothing",
                hint="leave out the column, and use `batchexport deliver` when the run has ended",
            )


def checked_plan(config: RunConfig) -> RunPlan:
    """The plan of the run. Raises ConfigError for what it asks of one process or machine alone."""
    for is_asked, what in (
        (config.schedule != ScheduleConfig(), "nights and windows of a job file"),
        (config.notify is not None, "[notify]"),
        (config.reports is not None, "[report]"),
    ):
        if is_asked:
            raise ConfigError(
                f"{config.job_name}.toml: workers do not know {what}",
                hint="leave it out for `submit`, or use `batchexport run`",
            )
    plan = plan_of(config.settings, config.access, default_cloud=os.environ.get("OS_CLOUD"))
    if embedded_sandbox.is_wanted({plan.cloud}):
        raise ConfigError(
            "each worker would start a sandbox of its own, with images that no other knows",
            hint="`batchexport sandbox --write-clouds-yaml clouds.yaml` starts one for all of them",
        )
    return plan


def database_run(ref: StoreRef) -> DatabasePath:
    """The run in a database that this names. Raises ConfigError for a state file."""
    if not isinstance(ref, DatabasePath):
        raise ConfigError(
            f"{ref}: workers share a database, and this is a file",
            hint="--state postgresql://USER@HOST/DATABASE, or BATCHEXPORT_DATABASE",
        )
    return ref
