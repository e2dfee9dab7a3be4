"""Look at ambiguous rows again, and settle those that have become clear."""

from __future__ import annotations

from batchexport import engine
from batchexport.app.connections import connections
from batchexport.config import CloudSettings, Settings
from batchexport.engine import Claims, Reconciled
from batchexport.store import StoreRef, stores


async def reconcile_rows(
    state_path: StoreRef, settings: Settings, access: CloudSettings, claims: Claims
) -> list[Reconciled]:
    """A look at every ambiguous row, settled in the state file where it is clear now whose its images are."""
    async with stores.open_for_work(state_path) as state:
        keys = [target.key for target in state.targets]
        async with connections(keys, access, settings.limits, state_path=state_path) as connect:
            return await engine.reconcile_all(
                state, connect, claims, settle_s=settings.limits.settle_s, rebind=settings.rebind_cloud
            )
