"""Nothing is stopped that nobody agreed to, by `--yes`, by a job file, or in an earlier run of this file."""

from __future__ import annotations

from pathlib import Path

from batchexport.config import InUse, Settings
from batchexport.errors import ConfigError
from batchexport.report.text import count_of
from batchexport.store import RunRecord, StateFile, StateReader


async def agree(state_path: Path, settings: Settings) -> None:
    """Note in the state file that servers may be stopped for its rows; nothing where none would be.

    Raises ConfigError where nobody agreed to it.
    """
    with StateReader(state_path) as reader:
        (rows, waiting), run = reader.rows_that_stop(settings.in_use), reader.run
    if not rows:
        return
    if not settings.wait:
        raise ConfigError(
            "--no-wait does not go with servers that are stopped for exports: who would start them again?",
            hint="leave --no-wait out, or name another --in-use",
        )
    if _covers(run, settings):
        return
    if not settings.server_stops.agreed:
        raise ConfigError(
            f"servers may be stopped for {count_of(waiting or rows, 'row')} of {run.list_name},"
            " and nobody agreed to it",
            hint='--yes agrees, or a job file with [servers] in_use = "stop"; `batchexport plan` of the list'
            " shows which servers",
        )
    async with StateFile.open(state_path) as state:
        await state.agree(settings.in_use)


def _covers(run: RunRecord, settings: Settings) -> bool:
    """Whether what was agreed to earlier is all that these settings ask for."""
    return run.may_stop and (run.in_use is InUse.STOP or settings.in_use is not InUse.STOP)
