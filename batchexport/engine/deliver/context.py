"""What all deliveries of one target share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from batchexport.deliveries import (
    Delivered,
    Delivery,
    DeliveryChange,
    DeliveryChanged,
    DeliveryState,
    Planned,
)
from batchexport.engine.deliver.ports import DeliveryCloud
from batchexport.store import DeliveryBook, Work
from batchexport.transfer import Bandwidth, TransferSlots

#: What came of a delivery: the proof that it is there, or that it failed, or is left pending for later.
End = Delivered | DeliveryState


class Progress:
    """How far the transfers are, in bytes and deliveries."""

    def __init__(self) -> None:
        self.sent_bytes = 0  #: on the wire, those sent twice counted twice
        self.under_way: dict[int, tuple[int, int]] = {}  #: by delivery id: bytes so far, bytes in all
        self.delivered = 0
        self.failed = 0
        self.waiting: dict[str, str] = {}  #: by destination: why nothing moves there
        self.took: list[tuple[int, float]] = []  #: GiB and seconds of those that are delivered

    def begin(self, delivery_id: int, size: int) -> Callable[[int], None]:
        """Start a transfer; what is returned is to hear of its bytes."""
        self.under_way[delivery_id] = (0, size)

        def on_bytes(count: int) -> None:
            self.sent_bytes += count
            so_far, _ = self.under_way.get(delivery_id, (0, size))
            self.under_way[delivery_id] = (so_far + count, size)

        return on_bytes

    def end(self, delivery_id: int) -> None:
        """The transfer is over, however it ended."""
        self.under_way.pop(delivery_id, None)


class Delivering(msgspec.Struct, frozen=True, kw_only=True):
    """One target whose images are delivered."""

    work: Work
    book: DeliveryBook
    source: DeliveryCloud
    transfers: TransferSlots  #: of all destinations together
    bandwidth: Bandwidth
    progress: Progress
    version: str
    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    #: Whether a delivery may begin now; where it may not, it is left for the next run.
    may_begin: Callable[[Delivery], bool] = lambda delivery: True
    on_change: Callable[[DeliveryChanged], object] | None = None  #: hears of each that is on disk
    ends: dict[tuple[int, str], asyncio.Future[End]] = msgspec.field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """The run whose images these are."""
        return self.work.run.run_id

    async def commit(self, *changes: DeliveryChange) -> None:
        """Make these changes durable, all or none, and tell the observer. Raises StateError."""
        ids = [each.delivery_id for each in changes if not isinstance(each, Planned)]
        if self.on_change is None or not ids:
            await self.book.commit(*changes)
            return
        before = {each.delivery_id: each.state for each in await self.book.deliveries(delivery_ids=ids)}
        await self.book.commit(*changes)
        for after in await self.book.deliveries(delivery_ids=ids):
            self.on_change(DeliveryChanged(before=before[after.delivery_id], delivery=after))

    def end_of(self, job_id: int, destination: str) -> asyncio.Future[End]:
        """What came of another delivery of the same row."""
        key = (job_id, destination)
        if key not in self.ends:
            self.ends[key] = asyncio.get_running_loop().create_future()
        return self.ends[key]

    def ended(self, delivery: Delivery, came: End) -> None:
        """Tell those that wait for it."""
        end = self.end_of(delivery.job_id, delivery.destination)
        if not end.done():
            end.set_result(came)
