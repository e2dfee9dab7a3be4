"""Start the servers that exports stopped."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from batchexport import engine
from batchexport.app.connections import connections
from batchexport.config import CloudSettings, Settings
from batchexport.store import StoreRef, stores


async def start_servers(
    state_path: StoreRef, settings: Settings, access: CloudSettings, *, anyway: bool
) -> None:
    """Start every server that is down for exports and whose volumes are free, or all `anyway`; returns when
    they are up.
    """
    nothing_more = asyncio.Event()
    nothing_more.set()  # what is left of such a run is to bring servers up
    async with stores.open_for_work(state_path) as state:
        if not (await state.remaining()).resources:
            return
        keys = [target.key for target in state.targets]
        quick = replace(settings, wait=False, preflight=False)
        async with connections(keys, access, settings.limits, state_path=state_path) as connect:
            await engine.run(state, connect, quick, stop=nothing_more, start_anyway=anyway)
