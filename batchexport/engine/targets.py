"""Work on every target of a state file at once: each with its lease and its cloud, ended together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager

from batchexport.engine.ports import Cloud
from batchexport.errors import BatchExportError, LeaseLostError, StateError
from batchexport.model import TargetKey
from batchexport.store import Lease, StateFile, TargetRecord

log = logging.getLogger(__name__)

#: Opens the cloud of a target, at the rate that was learnt of it earlier (None = nothing learnt).
Connect = Callable[[TargetKey, float | None], AbstractAsyncContextManager[Cloud]]
Work = Callable[[Cloud, Lease], Awaitable[None]]


async def on_each_target(
    state: StateFile, connect: Connect, work: Work, *, file_lost: Callable[[], object]
) -> None:
    """Do `work` on every target. One that cannot go on does not hold up the others.

    What ended a target is raised when all are done; the first sign that the state file is lost to this
    process is also told to `file_lost`. Raises StateInUseError before any work if another process has a
    target.
    """
    targets = state.targets()
    leases = await _take_all(state, targets)
    errors: list[BatchExportError] = []

    async def one(target: TargetRecord, lease: Lease) -> None:
        try:
            async with connect(target.key, target.requests_per_second) as cloud:
                await work(cloud, lease)
        except BaseException as error:
            plain = _plain(error)
            errors.append(plain)
            log.info("target %s ended: %s", target.key, plain)
            if isinstance(plain, (LeaseLostError, StateError)):
                file_lost()

    try:
        async with asyncio.TaskGroup() as group:
            for target, lease in zip(targets, leases, strict=True):
                group.create_task(one(target, lease))
    finally:
        await _release_all(state, leases)
    if errors:
        raise max(errors, key=_gravity)


async def _take_all(state: StateFile, targets: Sequence[TargetRecord]) -> list[Lease]:
    leases: list[Lease] = []
    try:
        for target in targets:
            leases.append(await state.take(target.target_id))
    except BaseException:
        await _release_all(state, leases)
        raise
    return leases


async def _release_all(state: StateFile, leases: Sequence[Lease]) -> None:
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
    return max(ours, key=_gravity)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _gravity(error: BatchExportError) -> bool:
    """Of several errors the one to end with: one about the state file before one about a cloud."""
    return isinstance(error, (StateError, LeaseLostError))
