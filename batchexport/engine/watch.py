"""Watching exports: pages, not jobs. One list of what turned active, one of what is still uploading."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from batchexport.config import Settings
from batchexport.engine import decide
from batchexport.engine.feed import ActiveFeed
from batchexport.engine.ledger import Ledger
from batchexport.engine.ports import Cloud
from batchexport.errors import CloudError, FatalError
from batchexport.log_level import NOTICE
from batchexport.model import Ending, Image, Job, JobState

log = logging.getLogger(__name__)

#: A list page carries this many records at best; beyond this many single reads a page is cheaper.
PAGE = 1000
SINGLE_READS = 20


class Watcher:
    """Looks at the cloud in even steps and ends each export that the cloud has ended."""

    def __init__(self, cloud: Cloud, ledger: Ledger, settings: Settings) -> None:
        self._cloud = cloud
        self._ledger = ledger
        self._settings = settings
        self._feed = ActiveFeed(cloud)
        self._free_since: dict[str, float] = {}  # image id -> loop time its volume was first seen free
        self._looks_until_volumes = 0

    async def run(self) -> None:
        """Watch for ever; the caller cancels it when nothing is left to watch."""
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        failures = 0  # in a row
        while True:
            while not self._ledger.exporting:
                await asyncio.wait([self._ledger.next_change()])
                look_at = loop.time()
            look_at = max(look_at + self._interval_s(loop.time()), loop.time())
            await asyncio.sleep(look_at - loop.time())
            try:
                await self.look()
            except FatalError as error:
                self._ledger.blind = True
                self._ledger.stop(error)
                return
            except CloudError as error:
                failures += 1
                if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th …: an outage may last for hours
                    log.warning("cannot watch the exports (%s); looking again", error)
            else:
                if failures:
                    log.log(NOTICE, "the exports can be watched again")
                failures = 0

    async def look(self) -> None:
        """One look: volumes first, then images, so that what is free and has no image has failed."""
        exporting = dict(self._ledger.exporting)
        uploading = await self._uploading(len(exporting))
        await self._read_active()
        if uploading is None:
            return
        doubtful = [
            job
            for image_id, job in exporting.items()
            if image_id in self._ledger.exporting and job.volume_id not in uploading
        ]
        await self._judge(doubtful)

    def _interval_s(self, loop_now: float) -> float:
        if (asked := self._settings.limits.poll_interval_s) is not None:
            return asked
        youngest = next(reversed(self._ledger.exporting.values()), None)
        if youngest is None or youngest.accepted_at is None:
            return decide.poll_interval_s(0.0)
        return decide.poll_interval_s(self._ledger.now() - youngest.accepted_at)

    async def _uploading(self, exports: int) -> set[str] | None:
        """The volumes that are uploading, or None when it is not yet time to pay for the list.

        The list costs a page for each thousand exports, so it is read every so many looks: one request a
        look, whatever the number of exports.
        """
        self._looks_until_volumes -= 1
        if self._looks_until_volumes > 0:
            return None
        self._looks_until_volumes = -(-exports // PAGE)
        found: set[str] = set()
        async for page in self._cloud.volumes(status="uploading"):
            found.update(volume.volume_id for volume in page)
        return found

    async def _read_active(self) -> None:
        """End every export whose image has turned active since the last look."""
        async for image in self._feed.active(self._ledger.exporting):
            if job := self._ledger.exporting.get(image.image_id):
                self._succeed(job, decide.finished(image, job, self._settings.image))

    async def _judge(self, doubtful: Sequence[Job]) -> None:
        """Find out what became of exports whose volume is free but whose image was not seen active."""
        images = await self._images_of(doubtful)
        loop_now = asyncio.get_running_loop().time()
        for job in doubtful:
            image_id = job.image_id or ""
            free_since = self._free_since.setdefault(image_id, loop_now)
            image = images.get(image_id)
            match decide.verdict(image, idle_for_s=loop_now - free_since):
                case decide.Succeed() if image is not None and image.status == "active":
                    self._succeed(job, decide.finished(image, job, self._settings.image))
                case decide.Succeed(ending):
                    self._succeed(job, ending)
                case decide.Again(ending):
                    self._free_since.pop(image_id, None)
                    self._ledger.again(job, await self._explained(job, ending))
                case decide.Wait():
                    pass

    async def _images_of(self, jobs: Sequence[Job]) -> dict[str, Image]:
        """The images of these jobs by id; those that are gone are left out."""
        wanted = {job.image_id for job in jobs if job.image_id}
        if len(wanted) <= SINGLE_READS:
            found = [await self._cloud.image(image_id) for image_id in wanted]
            return {image.image_id: image for image in found if image is not None}
        since = min(job.intent_at or 0.0 for job in jobs) - decide.CLOCK_MARGIN_S
        images: dict[str, Image] = {}
        async for page in self._cloud.images(created_since=since):
            images.update((image.image_id, image) for image in page if image.image_id in wanted)
        return images

    async def _explained(self, job: Job, ending: Ending) -> Ending:
        """The ending with the cloud's own account of the failure, where it keeps one."""
        words = await self._cloud.failure_reason(job.volume_id, job.request_id)
        reason = f"{ending.reason}: {words}" if words else ending.reason
        return Ending(reason=reason, code=ending.code, request_id=job.request_id)

    def _succeed(self, job: Job, ending: Ending) -> None:
        self._free_since.pop(job.image_id or "", None)
        self._ledger.ended(job, JobState.SUCCEEDED, ending)
