"""Watching exports: pages, not jobs. One list of what turned active, one of what is still uploading."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

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


class Trace(msgspec.Struct):
    """Since when every look has shown the volume of an export free and its image the same."""

    since: float  #: loop time
    mark: tuple[object, ...] | None  #: what would change if the image moved on; None = it is missing


class Watcher:
    """Looks at the cloud in even steps and ends each export that the cloud has ended."""

    def __init__(self, cloud: Cloud, ledger: Ledger, settings: Settings) -> None:
        self._cloud = cloud
        self._ledger = ledger
        self._settings = settings
        self._feed = ActiveFeed(cloud)
        self._traces: dict[str, Trace] = {}  # by image id; of exports whose volume was seen free
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
        doubtful = []
        for image_id, job in exporting.items():
            if job.volume_id in uploading:
                self._traces.pop(image_id, None)
            elif image_id in self._ledger.exporting:
                doubtful.append(job)
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
        for job in doubtful:
            image = images.get(job.image_id or "")
            match decide.verdict(
                image,
                same_for_s=self._same_for_s(job, image),
                size_gib=job.size_gib,
                overdue=job.deadline_at is not None and self._ledger.now() >= job.deadline_at,
            ):
                case decide.Succeed() if image is not None and image.status == "active":
                    self._succeed(job, decide.finished(image, job, self._settings.image))
                case decide.Succeed(ending):
                    self._succeed(job, ending)
                case decide.Again() if await self._is_seen_otherwise(job, image):
                    self._traces.pop(job.image_id or "", None)
                case decide.Again(ending):
                    self._traces.pop(job.image_id or "", None)
                    self._ledger.again(job, await self._explained(job, ending))
                case decide.Wait():
                    pass

    def _same_for_s(self, job: Job, image: Image | None) -> float:
        """Seconds for which every look has shown the image of this export as this one does."""
        loop_now = asyncio.get_running_loop().time()
        mark = None if image is None else (image.status, image.size_bytes, image.updated_at)
        trace = self._traces.get(job.image_id or "")
        if trace is None or trace.mark != mark:
            trace = self._traces[job.image_id or ""] = Trace(loop_now, mark)
        return loop_now - trace.since

    async def _is_seen_otherwise(self, job: Job, image: Image | None) -> bool:
        """Whether witnesses of another kind contradict that the export came to nothing.

        The volume was missing in a list: it is read by its id. The image was missing by its id: it is looked
        for by its name.
        """
        volume = await self._cloud.volume(job.volume_id)
        if volume is not None and volume.status == "uploading":
            return True
        if image is not None:
            return False
        named = await self._cloud.images_named(job.image_name)
        return any(other.image_id == job.image_id for other in named)

    async def _images_of(self, jobs: Sequence[Job]) -> dict[str, Image]:
        """The images of these jobs by id; those that are gone are left out."""
        wanted = {job.image_id for job in jobs if job.image_id}
        images: dict[str, Image] = {}
        if len(wanted) > SINGLE_READS:
            since = min(job.intent_at or 0.0 for job in jobs) - decide.CLOCK_MARGIN_S
            async for page in self._cloud.images(created_since=since):
                images.update((image.image_id, image) for image in page if image.image_id in wanted)
        # A list proves what it shows and nothing else: what it leaves out is read by its id.
        for image_id in wanted - images.keys():
            if (image := await self._cloud.image(image_id)) is not None:
                images[image_id] = image
        return images

    async def _explained(self, job: Job, ending: Ending) -> Ending:
        """The ending with the cloud's own account of the failure, where it keeps one."""
        words = await self._cloud.failure_reason(job.volume_id, job.request_id)
        reason = f"{ending.reason}: {words}" if words else ending.reason
        return Ending(reason=reason, code=ending.code, request_id=job.request_id)

    def _succeed(self, job: Job, ending: Ending) -> None:
        self._traces.pop(job.image_id or "", None)
        self._ledger.ended(job, JobState.SUCCEEDED, ending)
