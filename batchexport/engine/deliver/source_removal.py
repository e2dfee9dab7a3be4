"""Deletes source images that were only vehicles: everything is delivered, and seen to be whole now."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

import msgspec

from batchexport.deliveries import SHARED, Delivery, DeliveryState
from batchexport.engine.deliver.context import Delivering
from batchexport.engine.deliver.feed import OpeningOf, Row
from batchexport.engine.deliver.kind import DeliveryKind
from batchexport.engine.operations import NotSentError, perform
from batchexport.engine.ports import Cloud
from batchexport.engine.steps.delete_image import GONE, DeleteImage, Record
from batchexport.errors import BatchExportError, CloudError, ConfigError, LeaseLostError


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A source image, and whether it was deleted because it was only a vehicle."""

    job_id: int
    image_id: str
    is_gone: bool
    reason: str


async def drop_sources(
    cloud: Cloud, rows: Sequence[Row], opening_of: OpeningOf, context: Delivering
) -> list[Dropped]:
    """Delete the source images of rows of which everything is delivered, and each is seen to be whole now."""
    results = []
    async with _Places(opening_of, context) as places:
        for row in rows:
            found = await context.book.deliveries(job_ids=[row.job_id])
            theirs = [each for each in found if each.image_id == row.image_id]
            try:
                reason = await _why_not(theirs, row, places)
            except (CloudError, ConfigError) as error:
                reason = f"what was delivered cannot be looked at: {error}"
            if reason is None:
                results.append(await _drop(cloud, row, context))
            else:
                results.append(
                    Dropped(job_id=row.job_id, image_id=row.image_id, is_gone=False, reason=reason)
                )
    return results


class _Places:
    """The destinations, each opened once; one that cannot be opened is not tried again for the next row."""

    def __init__(self, opening_of: OpeningOf, context: Delivering) -> None:
        self._opening_of = opening_of
        self._context = context
        self._stack = AsyncExitStack()
        self._opened: dict[str, DeliveryKind | BatchExportError] = {}

    async def __aenter__(self) -> _Places:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def at(self, destination: str) -> DeliveryKind:
        """The destination, open. Raises CloudError and ConfigError."""
        if destination not in self._opened:
            opening = self._opening_of(destination)
            try:
                self._opened[destination] = await self._stack.enter_async_context(opening(self._context))
            except (CloudError, ConfigError) as error:
                self._opened[destination] = error
        found = self._opened[destination]
        if isinstance(found, BatchExportError):
            raise found
        return found


async def _why_not(deliveries: Sequence[Delivery], row: Row, places: _Places) -> str | None:
    """Why the source image has to stay; None = it may go. All that is on record of it counts."""
    done = {each.destination for each in deliveries if each.state is DeliveryState.DELIVERED}
    for destination in (*row.destinations, *(each.destination for each in deliveries)):
        if destination not in done:
            return f"not delivered to {destination}"
        if destination.startswith(SHARED):
            return "it is shared with a project, which uses this very image"
    for delivery in deliveries:
        if delivery.destination not in row.destinations:
            continue
        kind = await places.at(delivery.destination)
        if not await kind.still_there(delivery):
            return f"what was delivered to {delivery.destination} is not there (any more) as it was verified"
    return None if row.destinations else "no delivery holds the data without it"


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
