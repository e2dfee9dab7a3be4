"""A whole run: every row of a store, on all its targets at once, each with its lease and its cloud."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from batchexport.clock import SteadyClock
from batchexport.config import Settings
from batchexport.engine.controls import Controls
from batchexport.engine.ledger import Breaker, OnChange
from batchexport.engine.ports import Cloud
from batchexport.engine.reconcile import Claims, Reconciled, reconcile
from batchexport.engine.resources.kind import MakeKind
from batchexport.engine.target import KINDS, run_target
from batchexport.errors import (
    BatchExportError,
    CloudError,
    LeaseLostError,
    StateError,
    StopRequestedError,
)
from batchexport.model import JobState, TargetKey
from batchexport.store import Store, StoreRef, TargetRecord, Work, check_bound

if TYPE_CHECKING:  # most runs deliver nothing, and need not load it
    from batchexport.engine.deliver.during_run import RunDeliveries

log = logging.getLogger(__name__)

#: Opens the cloud of a target, at the rate limit learned earlier (None = none).
Connect = Callable[[TargetKey, float | None], AbstractAsyncContextManager[Cloud]]
OnTarget = Callable[[Cloud, Work], Awaitable[None]]


async def run(
    state: Store,
    connect: Connect,
    settings: Settings,
    *,
    stop: asyncio.Event,
    now: Callable[[], float] | None = None,
    on_change: OnChange | None = None,
    max_gib_at: Callable[[float], int] | None = None,
    controls: Controls | None = None,
    start_anyway: bool = False,
    again: frozenset[JobState] = frozenset(),
    others: Sequence[StoreRef] = (),
    make_kinds: Sequence[MakeKind] = KINDS,
    deliveries: RunDeliveries | None = None,
) -> int:
    """Export the volumes of every job; those in the states of `again` once more. With `deliveries` each image
    goes on from there as soon as it is complete.

    Jobs whose volumes `others`, further state files, show as exported are skipped. `max_gib_at(t)`: the
    largest volume that may start at `t`, in GiB; 0 = none, and what is left stays pending; None = any. With
    `start_anyway` servers are started although their volumes are being copied, and their jobs say so.
    `make_kinds` make the kinds of resources that jobs may need. With `controls`, which then hold `max_gib_at`
    too, limits may be changed while the run goes on.

    Returns when nothing is left to do or, after `stop` is set, when every request has its response; how many
    hooks failed after their row had ended. Raises what `on_each_target` raises.
    """
    if not (deliveries and deliveries.is_due) and (await state.remaining()).is_done(again):
        await check_clouds(state, connect, rebind=settings.rebind_cloud)
        return 0  # it needs neither the lease nor a cloud that answers
    clock = now or SteadyClock()
    breaker = Breaker(settings.limits.max_failures.limit(state.run.rows), state.path)

    controls = controls or Controls(settings, max_gib_at=max_gib_at)
    failed_hooks = 0

    async def one(cloud: Cloud, work: Work) -> None:
        nonlocal failed_hooks
        failed_hooks += await run_target(
            cloud,
            work,
            settings,
            breaker,
            stop=stop,
            now=clock,
            on_change=on_change,
            controls=controls,
            start_anyway=start_anyway,
            make_kinds=make_kinds,
            deliveries=deliveries,
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
    return failed_hooks


async def reconcile_all(
    state: Store, connect: Connect, claims: Claims, *, settle_s: float, rebind: bool = False
) -> list[Reconciled]:
    """Check every ambiguous job, some of them twice, `settle_s` apart.

    Raises what `on_each_target` raises.
    """
    results: list[Reconciled] = []

    async def one(cloud: Cloud, work: Work) -> None:
        results.extend(await reconcile(cloud, work, claims, settle_s=settle_s))

    await on_each_target(state, connect, one, file_lost=lambda: None, rebind=rebind)
    return results


async def on_each_target(
    state: Store,
    connect: Connect,
    on_target: OnTarget,
    *,
    file_lost: Callable[[], object],
    again: frozenset[JobState] = frozenset(),
    rebind: bool = False,
    others: Sequence[StoreRef] = (),
) -> None:
    """Do this on every target. One that fails does not delay the others.

    A target is signed in to, and bound to its cloud or checked against it; only then jobs in the states of
    `again` become pending. With `rebind` the addresses of the cloud may be new. Jobs whose volumes `others`,
    further state files, show as exported are skipped.

    The error that ended a target is raised when all are done. `file_lost` is called as soon as this process
    has lost the state file. Raises StateInUseError before any work if another process has a target.
    """
    targets = state.targets
    taken = await _take_all(state, targets)
    errors: list[BatchExportError] = []

    async def one(target: TargetRecord, work: Work) -> None:
        try:
            async with connect(target.key, target.requests_per_second) as cloud:
                if cloud.identity is not None:
                    await work.bind(cloud.identity, rebind=rebind)
                if again:
                    await work.retry(again)
                await _skip_duplicates(work, target, others)
                await on_target(cloud, work)
        except BaseException as error:
            plain = _plain(error)
            log.info("target %s ended: %s", target.key, plain, extra=_fields("target_ended", target))
            if isinstance(plain, StopRequestedError):
                return
            errors.append(plain)
            if isinstance(plain, (LeaseLostError, StateError)):
                file_lost()

    try:
        async with asyncio.TaskGroup() as group:
            for target, work in zip(targets, taken, strict=True):
                group.create_task(one(target, work))
    finally:
        await _release_all(taken)
    if errors:
        raise max(errors, key=_gravity)


async def _skip_duplicates(work: Work, target: TargetRecord, others: Sequence[StoreRef]) -> None:
    """Skip rows whose volume another target has, too, because both turned out to be one project; and those
    that `others`, further state files, show as exported.
    """
    skipped = await work.skip_duplicates(others)
    if skipped.known_twice:
        log.warning(
            "%d rows of target %s are skipped: it is the project of another target of this list,"
            " which names the same volumes",
            skipped.known_twice,
            target.key,
            extra=_fields("rows_skipped", target) | {"rows": skipped.known_twice},
        )
    for path, rows in skipped.exported.items():
        log.warning(
            "%d rows of target %s are exported already by %s: skipped; --again exports them once more",
            rows,
            target.key,
            path,
            extra=_fields("rows_skipped", target) | {"rows": rows, "path": str(path)},
        )


async def check_clouds(state: Store, connect: Connect, *, rebind: bool) -> None:
    """Raise WrongCloudError where a target is another cloud than it was: its results are of that one alone.

    A cloud that cannot be signed in to is not checked. Raises ConfigError where no sign-in is configured: the
    cloud that was asked for may be any.
    """
    for target in state.targets:
        if target.identity is None:
            continue
        try:
            async with connect(target.key, target.requests_per_second) as cloud:
                found = cloud.identity
        except CloudError as error:
            extra = _fields("cloud_unchecked", target)
            log.info("not checked that target %s is the same cloud: %s", target.key, error, extra=extra)
        else:
            if found is not None:
                check_bound(target.identity, found, rebind=rebind)


async def _take_all(state: Store, targets: Sequence[TargetRecord]) -> list[Work]:
    taken: list[Work] = []
    try:
        for target in targets:
            taken.append(await state.take(target.target_id))
    except BaseException:
        await _release_all(taken)
        raise
    return taken


async def _release_all(taken: Sequence[Work]) -> None:
    for work in taken:
        try:
            await work.release()
        except (LeaseLostError, StateError) as error:
            extra = {"action": "lease_not_released", "target_id": work.target_id}
            log.info("the lease of target %d was not released: %s", work.target_id, error, extra=extra)


def _plain(error: BaseException) -> BatchExportError:
    """Our error inside what a task group raised; anything else is raised as it is."""
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
    """Which of several errors to end with: one about the state file before one about a cloud."""
    return isinstance(error, (StateError, LeaseLostError))


def _fields(action: str, target: TargetRecord) -> dict[str, object]:
    """The data of a log record about a target, as `extra`."""
    return {"action": action, "target": str(target.key)}
