"""A whole run: every row of a state file, on all its targets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from batchexport.clock import SteadyClock
from batchexport.config import Settings
from batchexport.engine.ledger import Breaker, OnChange
from batchexport.engine.ports import Cloud
from batchexport.engine.reconcile import Claims, Reconciled, reconcile
from batchexport.engine.target import work
from batchexport.engine.targets import Connect, check_clouds, on_each_target
from batchexport.model import FINAL_STATES, JobState
from batchexport.store import Lease, StateFile


async def run(
    state: StateFile,
    connect: Connect,
    settings: Settings,
    *,
    stop: asyncio.Event,
    now: Callable[[], float] | None = None,
    on_change: OnChange | None = None,
    most_gib: Callable[[float], int] | None = None,
    start_anyway: bool = False,
    again: frozenset[JobState] = frozenset(),
    others: Sequence[Path] = (),
) -> None:
    """Take every row of the state file as far as it goes, those in the states of `again` once more.

    Rows whose volumes `others`, further state files, show as exported are skipped.

    `most_gib` tells for an instant how large a volume may be whose export begins then; 0 = none begins any
    more, and what is left stays pending. None = any may. With `start_anyway` servers are started although
    their volumes are being copied, and the rows of these say so.

    Returns when nothing is left to do, or, after `stop` is set, when what was sent has its answer. Raises
    what `on_each_target` raises.
    """
    counts = await state.counts()
    to_do = (set(JobState) - FINAL_STATES) | again
    is_finished = not any(counts[job_state] for job_state in to_do)
    if is_finished and not await state.servers.count_afoot():
        await check_clouds(state, connect, rebind=settings.rebind_cloud)
        return  # it needs neither the lease nor a cloud that answers
    clock = now or SteadyClock()
    breaker = Breaker(settings.limits.max_failures.limit(state.run.rows), state.path)

    async def one(cloud: Cloud, lease: Lease) -> None:
        await work(
            cloud,
            state,
            lease,
            settings,
            breaker,
            stop=stop,
            now=clock,
            on_change=on_change,
            most_gib=most_gib,
            start_anyway=start_anyway,
        )

    await on_each_target(
        state,
        connect,
        one,
        file_lost=stop.set,
        again=again,
        rebind=settings.rebind_cloud,
        others=others,
    )


async def reconcile_all(
    state: StateFile, connect: Connect, claims: Claims, *, settle_s: float, rebind: bool = False
) -> list[Reconciled]:
    """Look at every ambiguous row of the state file, at some of them twice, `settle_s` apart.

    Raises what `on_each_target` raises.
    """
    results: list[Reconciled] = []

    async def one(cloud: Cloud, lease: Lease) -> None:
        results.extend(await reconcile(cloud, state, lease, claims, settle_s=settle_s))

    await on_each_target(state, connect, one, file_lost=lambda: None, rebind=rebind)
    return results
