"""Takes up rows as their images are ready, plans their deliveries, and hands them to the destinations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

import msgspec

from batchexport.deliveries import DELIVERY_ENDS, Delivery, DeliveryState, Planned, Retried
from batchexport.engine.deliver.context import Delivering
from batchexport.engine.deliver.destination_loop import DestinationLoop
from batchexport.engine.deliver.kind import DeliveryKind
from batchexport.errors import BatchExportError

#: Rows that are planned in one transaction.
_BATCH = 500

Opening = Callable[[Delivering], AbstractAsyncContextManager[DeliveryKind]]
#: By the text of a destination, what signs in there or opens it. Raises ConfigError for one that is none.
OpeningOf = Callable[[str], Opening]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row whose image is to be delivered."""

    job_id: int
    image_id: str
    destinations: Sequence[str]  #: in their order


class Feed:
    """The rows of one target on their way to their destinations."""

    def __init__(
        self, opening_of: OpeningOf, context: Delivering, *, at_once: int, retry_failed: bool
    ) -> None:
        """`at_once` deliveries at each destination; `retry_failed`: those that failed before, once more."""
        self._opening_of = opening_of
        self._context = context
        self._at_once = at_once
        self._retry_failed = retry_failed
        self._rows: list[Row] = []
        self._closed = False
        self._news = asyncio.Event()
        self._loops: dict[str, DestinationLoop] = {}

    def add(self, row: Row) -> None:
        """Deliver the image of this row as well. Its success is on disk, or on its way there."""
        self._rows.append(row)
        self._news.set()

    def close(self) -> None:
        """No further rows come."""
        self._closed = True
        self._news.set()

    async def run(self) -> None:
        """Deliver; returns when everything is there, failed, or left for later, and no row can come.

        Raises StateError and LeaseLostError.
        """
        try:
            async with asyncio.TaskGroup() as group:
                while await self._has_more():
                    rows, self._rows = self._rows[:_BATCH], self._rows[_BATCH:]
                    for delivery in await self._planned(rows):
                        self._loop_of(delivery.destination, group).add([delivery])
                for loop in self._loops.values():
                    loop.close()
        except* BatchExportError as several:
            raise several.exceptions[0] from None

    async def _has_more(self) -> bool:
        while not self._rows and not self._closed:
            self._news.clear()
            await self._news.wait()
        return bool(self._rows)

    def _loop_of(self, destination: str, group: asyncio.TaskGroup) -> DestinationLoop:
        if destination not in self._loops:
            opening = partial(self._open, destination)
            loop = DestinationLoop(destination, opening, self._context, at_once=self._at_once)
            self._loops[destination] = loop
            group.create_task(loop.run())
        return self._loops[destination]

    def _open(self, destination: str) -> AbstractAsyncContextManager[DeliveryKind]:
        return self._opening_of(destination)(self._context)

    async def _planned(self, rows: Sequence[Row]) -> Sequence[Delivery]:
        """What of the deliveries of these rows is to be done, once all of them are on record."""
        commit = self._context.commit
        await commit(
            *(
                Planned(job_id=row.job_id, position=position, image_id=row.image_id, destination=each)
                for row in rows
                for position, each in enumerate(row.destinations, start=1)
            )
        )
        found = await self._found(rows)
        failed = [each for each in found if each.state is DeliveryState.FAILED]
        if failed and self._retry_failed:
            await commit(*(Retried(delivery_id=each.delivery_id) for each in failed))
            found = await self._found(rows)
        for each in found:
            if each.state is DeliveryState.DELIVERED:
                self._context.ended(each, each.as_delivered())
            elif each.state is DeliveryState.FAILED:
                self._context.ended(each, DeliveryState.FAILED)
        return [each for each in found if each.state not in DELIVERY_ENDS]

    async def _found(self, rows: Sequence[Row]) -> Sequence[Delivery]:
        wanted = {(row.job_id, row.image_id, each) for row in rows for each in row.destinations}
        found = await self._context.book.deliveries(job_ids=[row.job_id for row in rows])
        return [each for each in found if key_of(each) in wanted]


def key_of(delivery: Delivery) -> tuple[int, str, str]:
    """What tells a delivery from all others."""
    return (delivery.job_id, delivery.image_id, delivery.destination)
