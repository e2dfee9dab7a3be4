"""Short visits to the cloud before a run: look at every row of a list, and keep nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from batchexport.cli.beginning import begin
from batchexport.cli.connections import connections
from batchexport.cli.console import TerminalConsole
from batchexport.cli.execution import run_in_loop
from batchexport.cli.layers import Order
from batchexport.engine.plan import plan
from batchexport.model import TargetKey
from batchexport.plan import PlanSummary
from batchexport.store import StateFile


def foreseen(order: Order) -> Mapping[TargetKey, PlanSummary]:
    """What a run of this list would meet, by target. Raises JobListError, ConfigError, CloudError."""

    async def look(state_path: Path) -> Mapping[TargetKey, PlanSummary]:
        async with StateFile.open(state_path) as state:
            keys = [target.key for target in state.targets()]
            limits = order.settings.limits
            async with connections(keys, order.access, limits, state_path=state_path) as connect:
                return await plan(state, connect, order.settings)

    # The list may have a million rows: they wait on disk for their volumes, as those of a run do.
    with TemporaryDirectory(prefix="batchexport-") as folder:
        state_path = Path(folder) / "plan.state"
        begin(order, state_path, TerminalConsole(quiet=True))
        return run_in_loop(look(state_path))
