"""A whole run: every target of a state file at once, each on its own, ended together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

from batchexport.config import Settings
from batchexport.engine.ledger import Breaker, OnChange
from batchexport.engine.ports import Cloud
from batchexport.engine.target import work
from batchexport.errors import BatchExportError, LeaseLostError, StateError
from batchexport.model import TargetKey
from batchexport.store import Lease, StateFile, TargetRecord

log = logging.getLogger(__name__)

#: Opens the cloud of a target, at the rate that was learnt of it earlier (None = nothing learnt).
Connect = Callable[[TargetKey, float | None], AbstractAsyncContextManager[Cloud]]


async def run(
    state: StateFile,
    connect: Connect,
    settings: Settings,
    *,
    stop: asyncio.Event,
    now: Callable[[], float] = time.time,
    on_change: OnChange | None = None,
) -> None:
    """Take every row of the state file as far as it goes.

    Returns when nothing is left to do, or, after `stop` is set, when what was sent has its answer. A target
    that cannot go on does not hold up the others; what ended it is raised when they are done. Raises
    StateInUseError before anything is sent if another process works on a target.
    """
    targets = state.targets()
    leases = await _take_all(state, targets)
    breaker = Breaker(settings.limits.max_failures.limit(state.run.rows))
    errors: list[BatchExportError] = []

    async def one(target: TargetRecord, lease: Lease) -> None:
        try:
            async with connect(target.key, target.requests_per_second) as cloud:
                await work(cloud, state, lease, settings, breaker, stop=stop, now=now, on_change=on_change)
        except BaseException as error:
            errors.append(_plain(error))
            if isinstance(errors[-1], (LeaseLostError, StateError)):
                stop.set()  # the file is lost to this process: no target can write any more
            log.error("target %s: %s", target.key, errors[-1])

    async with asyncio.TaskGroup() as group:
        for target, lease in zip(targets, leases, strict=True):
            group.create_task(one(target, lease))
    await _release_all(state, leases)
    if errors:
        raise _worst(errors)


async def _take_all(state: StateFile, targets: list[TargetRecord]) -> list[Lease]:
    leases: list[Lease] = []
    try:
        for target in targets:
            leases.append(await state.take(target.target_id))
    except BaseException:
        await _release_all(state, leases)
        raise
    return leases


async def _release_all(state: StateFile, leases: list[Lease]) -> None:
    for lease in leases:
        try:
            await state.release(lease)
        except (LeaseLostError, StateError) as error:
            log.info("the lease of target %d could not be given back: %s", lease.target_id, error)


def _plain(error: BaseException) -> BatchExportError:
    """The error of ours inside what a task group raised; anything else is raised as it is."""
    found = [leaf for leaf in _leaves(error) if not isinstance(leaf, asyncio.CancelledError)]
    ours = [leaf for leaf in found if isinstance(leaf, BatchExportError)]
    if not found or len(ours) < len(found):
        raise error
    return _worst(ours)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _worst(errors: list[BatchExportError]) -> BatchExportError:
    """The error to end with: one about the state file before one about a cloud."""
    return max(errors, key=lambda error: isinstance(error, (StateError, LeaseLostError)))
