"""The run of one target: submitter, watcher, settler and resources under its lease, and their orderly end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from batchexport.changes import JobChange, RateLearned
from batchexport.config import Settings
from batchexport.engine import decide
from batchexport.engine.controls import Controls
from batchexport.engine.label import Labeller
from batchexport.engine.ledger import Breaker, Ledger, OnChange
from batchexport.engine.ports import Cloud
from batchexport.engine.preflight import is_wanted, preflight
from batchexport.engine.prior_images import PriorImages
from batchexport.engine.resources.control_loop import ControlLoop
from batchexport.engine.resources.kind import MakeKind, ResourceKind
from batchexport.engine.resources.last_call import last_call
from batchexport.engine.row_hooks import RowHooks
from batchexport.engine.settle import Settler
from batchexport.engine.steps.stop_server import StopServer
from batchexport.engine.steps.temporary_volume import TemporaryVolume
from batchexport.engine.submit import Submitter
from batchexport.engine.watch import Watcher
from batchexport.errors import StateError, StateWriteError
from batchexport.model import Job, JobState
from batchexport.store import Work

if TYPE_CHECKING:  # most runs deliver nothing, and need not load it
    from batchexport.engine.deliver.during_run import RunDeliveries, TargetDeliveries

log = logging.getLogger(__name__)
ErrorT = TypeVar("ErrorT", bound=BaseException)

#: The kinds of resources that jobs may need; nothing is made or polled of one that none needs.
KINDS: tuple[MakeKind, ...] = (StopServer, TemporaryVolume)
#: A lease lasts 30 s: renewed this often, it survives two late renewals.
RENEW_EVERY_S = 10.0


async def run_target(
    cloud: Cloud,
    work: Work,
    settings: Settings,
    breaker: Breaker,
    *,
    stop: asyncio.Event,
    now: Callable[[], float],
    on_change: OnChange | None,
    controls: Controls,
    start_anyway: bool = False,
    make_kinds: Sequence[MakeKind] = KINDS,
    deliveries: RunDeliveries | None = None,
) -> int:
    """Export every volume of the target, and deliver the images where there are `deliveries`; returns when
    nothing is left, or drained after `stop`, and every server that was stopped is up again; how many hooks
    failed after their row had ended.

    Raises what ended the target early: a FatalError or RunStoppedError once every request has its response;
    LeaseLostError and StateWriteError at once, for nothing more can be written then. Before the latter,
    servers that are free are started, and its hint names them. The other arguments are those of `run`.
    """
    hooks = RowHooks(settings.hooks, work.run, work.path)
    delivered = None
    if deliveries is not None:
        delivered = await deliveries.begin(cloud, work, now=now)
    ledger = Ledger(work, settings, breaker, now=now, on_change=_all_told(on_change, hooks, delivered))
    exporting, in_doubt = await work.jobs_in(JobState.EXPORTING), await work.jobs_in(JobState.SUBMITTING)
    ledger.resumed(exporting, in_doubt)
    hooks.resumed([*exporting, *in_doubt])
    controls.listen(partial(_heed, ledger))
    kinds = [make_kind(cloud, work, ledger, settings) for make_kind in make_kinds]
    resources = [
        ControlLoop(
            kind,
            work,
            ledger,
            settings,
            max_gib_at=controls.max_gib_at,
            max_exports=lambda: controls.max_exports,
            anyway=start_anyway and kind.confirms,
            is_anothers=partial(_is_needed_by_any, [each for each in kinds if each is not kind]),
        )
        for kind in kinds
    ]
    try:
        await _run_parts(
            cloud,
            work,
            ledger,
            settings,
            kinds,
            resources,
            hooks,
            controls,
            stop=stop,
            now=now,
            delivered=delivered,
        )
    except (StateWriteError, BaseExceptionGroup) as error:
        if unwritable := list(_all(error, StateWriteError)):
            left = [await last_call(kind, work, ledger) for kind in kinds]
            for each in unwritable:
                each.hint = "; ".join(filter(None, (each.hint, *left)))
        raise
    finally:
        await hooks.finish()
    if ledger.stopped_by is not None:
        raise ledger.stopped_by
    return hooks.failed_after


def _heed(ledger: Ledger) -> None:
    """Limits have changed: whoever waits for room, or with rows that are held, looks again."""
    ledger.held.set()
    ledger.wake()


def _all_told(
    on_change: OnChange | None, hooks: RowHooks, delivered: TargetDeliveries | None
) -> OnChange | None:
    """Who is told of changes: the observer, the hooks where there are any, and the deliveries."""
    listeners: list[OnChange] = [] if on_change is None else [on_change]
    if hooks.are_wanted:
        listeners.append(hooks.job_changed)
    if delivered is not None:
        listeners.append(delivered.job_changed)
    if len(listeners) < 2:
        return listeners[0] if listeners else None

    def told(change: JobChange) -> None:
        for listener in listeners:
            listener(change)

    return told


async def _run_parts(
    cloud: Cloud,
    work: Work,
    ledger: Ledger,
    settings: Settings,
    kinds: Sequence[ResourceKind],
    resources: Sequence[ControlLoop],
    hooks: RowHooks,
    controls: Controls,
    *,
    stop: asyncio.Event,
    now: Callable[[], float],
    delivered: TargetDeliveries | None,
) -> None:
    for each in resources:
        await each.resume()
    if stop.is_set():  # before anything is claimed: such a run only releases
        ledger.stop()
    prior = PriorImages(cloud, work, ledger)
    submitter = Submitter(cloud, work, ledger, settings, prior, kinds, hooks, controls, now=now)
    watcher = Watcher(cloud, ledger, settings)
    aside: list[Coroutine[Any, Any, None]] = [
        _relay(stop, ledger),
        _renew(work, cloud, ledger),
        watcher.run(),
        Settler(cloud, ledger, prior, settings).run(),
        Labeller(cloud, work, ledger, settings).run(),
    ]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(side) for side in aside]
        delivering = delivered and group.create_task(delivered.run(ledger.stopping))
        try:
            await _until_stopping(_check_existing_images(prior, ledger, settings), ledger)
            if is_wanted(settings, work.run):
                await _until_stopping(preflight(cloud, work, ledger, settings, kinds), ledger)
            tasks += [group.create_task(each.run()) for each in resources]
            await submitter.run()
            if not settings.wait:
                for each in resources:
                    await each.poll_exports(watcher.poll)
            await asyncio.gather(*(each.finish() for each in resources))
            if delivered and delivering:
                delivered.close()
                await asyncio.wait({delivering})
        finally:
            for task in tasks:
                task.cancel()
            if delivering:
                delivering.cancel()
    await work.flush()


def _is_needed_by_any(kinds: Sequence[ResourceKind], job: Job) -> bool:
    return any(kind.is_needed_by(job) for kind in kinds)


def _all(error: BaseException, kind: type[ErrorT]) -> Iterator[ErrorT]:
    """The errors of this kind inside what a task group raised."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _all(inner, kind)
    elif isinstance(error, kind):
        yield error


async def _check_existing_images(prior: PriorImages, ledger: Ledger, settings: Settings) -> None:
    """List the images that exist before anything is sent; rows that were sent unnoticed are in doubt."""
    existing = await prior.list_existing(list_all=settings.preflight)
    ledger.claimed([*existing.unnoticed, *(job for job, _ in existing.appeared)])
    for job in existing.unnoticed:
        ledger.mark_in_doubt(job)
    for job, image_id in existing.appeared:
        ledger.finish(job, JobState.AMBIGUOUS, decide.appeared(image_id))


async def _until_stopping(first: Coroutine[Any, Any, None], ledger: Ledger) -> None:
    """Wait for what comes first, and cancel it when the run is to stop."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(first)
        stopping = group.create_task(ledger.stopping.wait())
        task.add_done_callback(lambda _: stopping.cancel())
        stopping.add_done_callback(lambda _: task.cancel())


async def _relay(stop: asyncio.Event, ledger: Ledger) -> None:
    """Stop this target with the whole run."""
    await stop.wait()
    ledger.stop()


async def _renew(work: Work, cloud: Cloud, ledger: Ledger) -> None:
    """Renew the lease for ever, and keep the learned rate limit for the next run.

    Once the state file is no longer in its place, nothing more starts: the next process would not know of it.
    """
    learned = cloud.requests_per_second
    while True:
        await asyncio.sleep(RENEW_EVERY_S)
        await work.renew()
        try:
            work.check_in_place()
        except StateError as error:
            ledger.stop(error)
        if (rate := cloud.requests_per_second) != learned:
            work.apply(RateLearned(rate))
            learned = rate
