"""The argument of commands on a state file: the file itself, or the job file whose newest one it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from batchexport.cli.completing import StateFilePath
from batchexport.cli.options import JOB_FILE


class StateOrJob(StateFilePath):
    """A state file, or a job file, which stands for the newest state file of its own."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path of the state file; the job file is kept for whoever asks for its settings."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.suffix.lower() != ".toml":
            return path
        from batchexport.app.run_config import newest_state_of

        if ctx is not None:
            ctx.meta[JOB_FILE] = path
        return newest_state_of(path)


STATE_OR_JOB = StateOrJob(exists=True, dir_okay=False, path_type=Path)
