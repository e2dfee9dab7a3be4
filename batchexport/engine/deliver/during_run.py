"""Deliveries during a run: each row goes on once its export has succeeded, beside the exports of others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import msgspec

from batchexport.changes import JobChange
from batchexport.deliveries import Delivery, DeliveryChanged, DeliveryPolicy
from batchexport.engine.deliver.context import Delivering, Progress
from batchexport.engine.deliver.feed import Feed, OpeningOf, Row
from batchexport.engine.deliver.ports import DeliveryCloud
from batchexport.engine.deliver.source_removal import drop_sources
from batchexport.engine.ports import Cloud
from batchexport.model import JobState
from batchexport.store import DeliveryBook, Work
from batchexport.transfer import Bandwidth, TransferSlots

log = logging.getLogger(__name__)


class RunDeliveries(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is to deliver, on all of its targets together."""

    policy: DeliveryPolicy
    is_due: bool  #: rows that have their image are not delivered yet, or the policy is new
    opening_of: OpeningOf
    as_source: Callable[[Cloud], DeliveryCloud]  #: raises ConfigError where the cloud hands out no images
    transfers: TransferSlots
    at_once: int  #: deliveries at each destination
    bandwidth: Bandwidth
    version: str
    retry_failed: bool = False
    may_begin: Callable[[Delivery], bool] = lambda delivery: True
    progress: Progress = msgspec.field(default_factory=Progress)
    on_change: Callable[[DeliveryChanged], object] | None = None

    async def begin(self, cloud: Cloud, work: Work, *, now: Callable[[], float]) -> TargetDeliveries:
        """Those of one target. Raises ConfigError where its cloud hands out no images."""
        context = Delivering(
            work=work,
            book=DeliveryBook(work),
            source=self.as_source(cloud),
            transfers=self.transfers,
            bandwidth=self.bandwidth,
            progress=self.progress,
            version=self.version,
            now=now,
            may_begin=self.may_begin,
            on_change=self.on_change,
        )
        await context.book.note_policy(self.policy)
        delivered = TargetDeliveries(cloud, self, context)
        await delivered.take_up()
        return delivered


class TargetDeliveries:
    """The deliveries of one target, while its rows are exported and after."""

    def __init__(self, cloud: Cloud, deliveries: RunDeliveries, context: Delivering) -> None:
        self._cloud = cloud
        self._deliveries = deliveries
        self._context = context
        self._policy = deliveries.policy
        self._fed: set[int] = set()
        self._feed = Feed(
            deliveries.opening_of,
            context,
            at_once=deliveries.at_once,
            retry_failed=deliveries.retry_failed,
        )

    async def take_up(self) -> None:
        """Take up what earlier processes left undelivered."""
        after = 0
        while page := await self._context.book.exported(self._policy, after=after):
            after = page[-1].job_id
            for row in page:
                if not row.is_delivered:
                    self._add(row.job_id, row.image_id, row.destinations)

    def job_changed(self, change: JobChange) -> None:
        """A row whose export has succeeded goes on."""
        job = change.job
        if change.after is JobState.SUCCEEDED and job.image_id is not None:
            self._add(job.job_id, job.image_id, self._policy.of(job.options.deliver))

    def close(self) -> None:
        """No row will succeed any more."""
        self._feed.close()

    async def run(self, stopping: asyncio.Event) -> None:
        """Deliver until all is there, failed or left for later, and delete the source images that are to go.

        When the run is to stop, what is under way is left as it is: the next process goes on with it. Raises
        StateError and LeaseLostError.
        """
        work = asyncio.ensure_future(self._run())
        stop = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not work.done():
                work.cancel()
                with suppress(asyncio.CancelledError):
                    await work
                extra = {"action": "deliveries_stopped"}
                log.info("deliveries stop; the next run goes on with them", extra=extra)
        if not work.cancelled():
            work.result()

    async def _run(self) -> None:
        await self._feed.run()
        if self._policy.drop_source:
            await self._drop()

    async def _drop(self) -> None:
        after, opening_of = 0, self._deliveries.opening_of
        while page := await self._context.book.exported(self._policy, after=after):
            after = page[-1].job_id
            rows = [
                Row(job_id=each.job_id, image_id=each.image_id, destinations=each.destinations)
                for each in page
                if each.can_be_dropped and not each.is_dropped
            ]
            if rows:
                for gone in await drop_sources(self._cloud, rows, opening_of, self._context):
                    words = "deleted" if gone.is_gone else "kept"
                    extra = {"action": f"source_{words}", "job_id": gone.job_id, "image_id": gone.image_id}
                    level = logging.INFO if gone.is_gone else logging.WARNING
                    log.log(level, "source image %s %s: %s", gone.image_id, words, gone.reason, extra=extra)

    def _add(self, job_id: int, image_id: str, destinations: tuple[str, ...]) -> None:
        if destinations and job_id not in self._fed:
            self._fed.add(job_id)
            self._feed.add(Row(job_id=job_id, image_id=image_id, destinations=destinations))
