"""Release what exports hold: start servers, delete temporary volumes and snapshots."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from batchexport import engine
from batchexport.app.connections import connections
from batchexport.config import CloudSettings, Settings
from batchexport.store import StoreRef, stores


async def release_resources(
    state_path: StoreRef, settings: Settings, access: CloudSettings, *, anyway: bool = False
) -> None:
    """Release every resource that no export in progress needs; returns when that is done.

    `anyway`: start servers even while their volumes are being copied.
    """
    nothing_more = asyncio.Event()
    nothing_more.set()  # what is left of such a run is to release what it holds
    async with stores.open_for_work(state_path) as state:
        if not (await state.remaining()).resources:
            return
        keys = [target.key for target in state.targets]
        quick = replace(settings, wait=False, preflight=False)
        async with connections(keys, access, settings.limits, state_path=state_path) as connect:
            await engine.run(state, connect, quick, stop=nothing_more, start_anyway=anyway)
