"""The deliveries of one target, under its lease: planned, done by one loop per destination, tidied up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial

import msgspec

from batchexport.deliveries import Delivery, DeliveryState, Planned, Retried
from batchexport.engine.deliver.context import Delivering
from batchexport.engine.deliver.destination_loop import deliver_all
from batchexport.engine.deliver.kind import DeliveryKind
from batchexport.engine.operations import NotSentError, perform
from batchexport.engine.ports import Cloud
from batchexport.engine.steps.delete_image import GONE, DeleteImage, Record
from batchexport.errors import BatchExportError, CloudError, LeaseLostError, StateError
from batchexport.model import TargetKey
from batchexport.store import StoreRef, Work, stores

#: As in a run: a lease lasts 30 s.
_RENEW_EVERY_S = 10.0

Opening = Callable[[Delivering], AbstractAsyncContextManager[DeliveryKind]]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row whose image is to be delivered."""

    job_id: int
    image_id: str
    destinations: Sequence[str]  #: in their order


@asynccontextmanager
async def holding(path: StoreRef, key: TargetKey, *, now: Callable[[], float]) -> AsyncIterator[Work]:
    """The target of a state file under its lease, renewed until the context ends.

    Raises StateInUseError while another process works on it. Where the lease is lost, what runs inside the
    context is cancelled, and LeaseLostError raised.
    """
    async with stores.open_for_work(path, now=now) as state:
        target_id = next((each.target_id for each in state.targets if each.key == key), None)
        if target_id is None:
            raise StateError(f"{path}: it has no target {key}")
        work = await state.take(target_id, is_work=False)
        inside = asyncio.current_task()
        assert inside is not None
        lost: list[BatchExportError] = []

        async def renew() -> None:
            try:
                while True:
                    await asyncio.sleep(_RENEW_EVERY_S)
                    await work.renew()
            except BatchExportError as error:
                lost.append(error)
                inside.cancel()

        renewing = asyncio.create_task(renew())
        try:
            yield work
        except asyncio.CancelledError:
            if not lost:
                raise
            inside.uncancel()
            raise lost[0] from None
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with suppress(LeaseLostError, StateError):
                await work.release()


async def deliver_rows(
    rows: Sequence[Row], openings: Mapping[str, Opening], context: Delivering, *, at_once: int
) -> Sequence[Delivery]:
    """Deliver the images of these rows; what stands on record of them afterwards.

    `openings` sign in to each destination, or open it. Those that failed before are tried again.
    """
    wanted = {(row.job_id, row.image_id, each) for row in rows for each in row.destinations}
    await context.book.commit(
        *(
            Planned(job_id=row.job_id, position=position, image_id=row.image_id, destination=each)
            for row in rows
            for position, each in enumerate(row.destinations, start=1)
        )
    )
    planned = [each for each in await context.book.deliveries() if _key(each) in wanted]
    failed = [each for each in planned if each.state is DeliveryState.FAILED]
    await context.book.commit(*(Retried(delivery_id=each.delivery_id) for each in failed))
    planned = [each for each in await context.book.deliveries() if _key(each) in wanted]
    for each in planned:
        if each.state is DeliveryState.DELIVERED:
            context.ended(each, each.as_delivered())
    try:
        async with asyncio.TaskGroup() as group:
            for destination, opening in openings.items():
                theirs = [each for each in planned if each.destination == destination]
                there = partial(opening, context)
                group.create_task(deliver_all(destination, there, theirs, context, at_once=at_once))
    except* BatchExportError as several:
        raise several.exceptions[0] from None
    return [each for each in await context.book.deliveries() if _key(each) in wanted]


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A source image, and whether it was deleted because it was only a vehicle."""

    job_id: int
    image_id: str
    is_gone: bool
    reason: str


async def drop_sources(
    cloud: Cloud, rows: Sequence[Row], openings: Mapping[str, Opening], context: Delivering
) -> list[Dropped]:
    """Delete the source images of rows of which everything is delivered, and one is seen to be whole now."""
    results = []
    for row in rows:
        theirs = [
            each for each in await context.book.deliveries() if _key(each)[:2] == (row.job_id, row.image_id)
        ]
        try:
            reason = await _why_not(theirs, row, openings, context)
        except CloudError as error:
            reason = f"what was delivered cannot be looked at: {error}"
        if reason is not None:
            results.append(Dropped(job_id=row.job_id, image_id=row.image_id, is_gone=False, reason=reason))
            continue
        results.append(await _drop(cloud, row, context))
    return results


async def _why_not(
    deliveries: Sequence[Delivery], row: Row, openings: Mapping[str, Opening], context: Delivering
) -> str | None:
    """Why the source image has to stay; None = it may go."""
    if missing := [each.destination for each in deliveries if each.state is not DeliveryState.DELIVERED]:
        return f"not delivered to {missing[0]}"
    reason = "no delivery holds the data without it"
    for delivery in deliveries:
        if delivery.destination not in openings:
            continue
        async with openings[delivery.destination](context) as kind:
            if delivery.destination.startswith("project:"):
                return "it is shared with a project, which uses this very image"
            if not await kind.still_there(delivery):
                return (
                    f"what was delivered to {delivery.destination} is not there (any more) as it was verified"
                )
            reason = ""
    return reason or None


async def _drop(cloud: Cloud, row: Row, context: Delivering) -> Dropped:
    work = context.work
    deletion = DeleteImage(
        cloud,
        row.image_id,
        [Record(work, row.job_id)],
        run_id=context.run_id,
        why="delivered and verified elsewhere: it was only a vehicle",
        now=context.now,
    )
    try:
        outcome = await perform(deletion, [work])
    except NotSentError:
        raise LeaseLostError("the lease ran out before the source image was deleted") from None
    if outcome is None:
        return Dropped(job_id=row.job_id, image_id=row.image_id, is_gone=False, reason=str(deletion.error))
    words = "it was gone already" if outcome == GONE else "deleted"
    return Dropped(job_id=row.job_id, image_id=row.image_id, is_gone=True, reason=words)


def _key(delivery: Delivery) -> tuple[int, str, str]:
    return (delivery.job_id, delivery.image_id, delivery.destination)
