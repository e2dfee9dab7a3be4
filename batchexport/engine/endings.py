"""How exports end that did not turn active by themselves: failed, complete after all, or stuck for good."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Sequence

import msgspec

from batchexport.config import Settings
from batchexport.engine import decide
from batchexport.engine.ledger import Ledger
from batchexport.engine.polling import SINGLE_READS, ActiveFeed, Reads, Turns
from batchexport.engine.ports import Cloud
from batchexport.errors import CloudError, QuotaError, RefusedError
from batchexport.model import Ending, Image, Job, JobState, Volume

#: So many exports in a row that failed because the store is full, or the quota used up: so will the next.
FULL_AFTER = 3
_FULL_WORDS = re.compile(r"quota|no space left|not enough (space|storage)|storage is full", re.IGNORECASE)


class Trace(msgspec.Struct):
    """Since when every look has shown something the same."""

    since: float  #: loop time
    mark: object  #: what would change if it moved on; None = it is missing


class Traces:
    """Since when the image of each export looks as it does."""

    def __init__(self) -> None:
        self._traces: dict[str, Trace] = {}  # by image id

    def same_for_s(self, job: Job, mark: object) -> float:
        """Seconds for which every look has shown the same mark of this export, this one included."""
        loop_now = asyncio.get_running_loop().time()
        trace = self._traces.get(job.image_id or "")
        if trace is None or trace.mark != mark:
            trace = self._traces[job.image_id or ""] = Trace(loop_now, mark)
        return loop_now - trace.since

    def forget(self, job: Job) -> None:
        """It has ended, or begins anew."""
        self._traces.pop(job.image_id or "", None)


class Endings:
    """Finds out what became of exports, each by itself: one that cannot be read holds up no other."""

    def __init__(
        self, cloud: Cloud, ledger: Ledger, settings: Settings, feed: ActiveFeed, reads: Reads
    ) -> None:
        self._cloud = cloud
        self._ledger = ledger
        self._settings = settings
        self._feed = feed
        self._reads = reads
        self._free = Traces()  # of exports whose volume was seen free
        self._overdue = Traces()  # of exports that are nearly past their deadline
        self._turns = Turns()
        self._full = 0  # exports in a row that failed for want of room

    def are_uploading(self, jobs: Iterable[Job]) -> None:
        """The volumes of these are being copied: what was seen of them before counts no more."""
        for job in jobs:
            self._free.forget(job)

    def succeed(self, job: Job, ending: Ending) -> None:
        """The image is complete."""
        self._full = 0
        self._forget(job)
        self._ledger.finish(job, JobState.SUCCEEDED, ending)

    async def look_singly(self, jobs: Sequence[Job]) -> None:
        """Judge these, whose volumes no list shows: each is read by its id first."""
        free = []
        for job in jobs:
            volume, error = await self._volume(job)
            if error is not None:
                continue
            if volume is not None and volume.status == "uploading":
                self._free.forget(job)
            else:
                free.append(job)
        await self.judge(free)

    async def judge(self, free: Sequence[Job]) -> None:
        """Find out what became of exports whose volume is free but whose image was not seen active."""
        images = await self._images_of(free)
        for job in free:
            image_id = job.image_id or ""
            if image_id in images and image_id in self._ledger.exporting:
                await self._judge(job, images[image_id])

    async def _judge(self, job: Job, image: Image | None) -> None:
        match decide.verdict(
            image,
            same_for_s=self._free.same_for_s(job, _mark(image)),
            size_gib=job.size_gib,
            overdue=self._is_overdue(job),
        ):
            case decide.Succeed() if image is not None and image.status == "active":
                self.succeed(job, decide.finished(image, job, self._settings.image))
            case decide.Succeed(ending):
                self.succeed(job, ending)
            case decide.Retry(ending):
                contradicted = await self._is_seen_otherwise(job, image)
                if contradicted is False:
                    await self._again(job, ending)
                elif contradicted:
                    self._free.forget(job)
            case decide.Wait():
                pass

    async def _again(self, job: Job, ending: Ending) -> None:
        ending = await self._explained(job, ending)
        if job.image_id not in self._ledger.exporting:  # ended while the cloud was asked for its words
            return
        self._forget(job)
        self._ledger.retry_or_fail(job, ending)
        self._full = self._full + 1 if _FULL_WORDS.search(ending.reason) else 0
        if self._full >= FULL_AFTER:
            words = f"{self._full} exports in a row found no room for their images: {ending.reason}"
            hint = "make room, or have the quota raised, then run the same command again"
            self._ledger.stop(QuotaError(words, hint=hint))

    async def end_stuck(self, jobs: Sequence[Job], *, uploading: Collection[str]) -> None:
        """End those of these that are past their deadline and whose image no longer moves.

        `uploading` are the ids of volumes that were just seen so; others are read by their ids.
        """
        late = [
            job for job in jobs if job.image_id in self._ledger.exporting and self._is_nearly_overdue(job)
        ]
        late = list(self._turns.of(late, 10 * SINGLE_READS))
        if not late:
            return
        images = await self._images_of(late)
        for job in late:
            image_id = job.image_id or ""
            is_read = image_id in images
            image = images.get(image_id)
            same_for_s = self._overdue.same_for_s(job, _mark(image) if is_read else "unread")
            if image_id not in self._ledger.exporting or not self._is_overdue(job):
                continue
            if image is not None and image.status in decide.COMPLETE_STATUSES:
                await self._judge(job, image)  # no list shows it: whatever the volume does, it is there
                continue
            if same_for_s >= decide.still_for_s(job):
                await self._end_stuck(job, image, is_read=is_read, uploading=uploading)

    async def _end_stuck(
        self, job: Job, image: Image | None, *, is_read: bool, uploading: Collection[str]
    ) -> None:
        volume, error = None, None
        is_uploading: bool | None = True
        if job.volume_id not in uploading:
            volume, error = await self._volume(job)
            is_uploading = None if error is not None else volume is not None and volume.status == "uploading"
        if is_read and is_uploading is False:
            return  # `judge` sees to it
        if job.image_id not in self._ledger.exporting:
            return
        self._forget(job)
        ending = decide.stuck(job, image, is_read=is_read, is_uploading=is_uploading)
        self._ledger.finish(job, JobState.FAILED, ending)

    async def _is_seen_otherwise(self, job: Job, image: Image | None) -> bool | None:
        """Whether witnesses of another kind contradict that the export came to nothing; None = not known.

        The volume was missing in a list: it is read by its id. The image was missing by its id: it is looked
        for by its name. What is refused, or silent past the deadline, is no witness.
        """
        volume, error = await self._volume(job)
        if error is not None and not self._is_no_witness(error, job):
            return None
        if volume is not None and volume.status == "uploading":
            return True
        if image is not None:
            return False
        try:
            named = await self._cloud.image.images_named(job.image_name)
        except CloudError as unread:
            self._reads.failed_in_part("images by name", unread)
            return False if self._is_no_witness(unread, job) else None
        return any(other.image_id == job.image_id for other in named)

    def _is_no_witness(self, error: CloudError, job: Job) -> bool:
        """Whether a read that failed is not waited for: it is refused, or the deadline is past."""
        return isinstance(error, RefusedError) or self._is_overdue(job)

    async def _volume(self, job: Job) -> tuple[Volume | None, CloudError | None]:
        """The volume of a job by its id, or why it cannot be read."""
        try:
            return await self._cloud.block_storage.get_volume(job.volume_id), None
        except CloudError as error:
            self._reads.failed_in_part("volumes by their ids", error)
            return None, error

    async def _images_of(self, jobs: Sequence[Job]) -> dict[str, Image | None]:
        """The images of these jobs by id, None where there is none; what cannot be read is left out."""
        wanted = [job.image_id for job in jobs if job.image_id]
        images: dict[str, Image | None] = {}
        if len(wanted) > SINGLE_READS:
            try:
                async for page in self._feed.by_ids(wanted):
                    images.update((image.image_id, image) for image in page if image.image_id in set(wanted))
            except CloudError as error:
                self._reads.failed_in_part("images by lists of ids", error)
        # A list proves what it shows and nothing else: what it leaves out is read by its id.
        left = [image_id for image_id in wanted if image_id not in images]
        for image_id in self._turns.of(left, 2 * SINGLE_READS):
            try:
                images[image_id] = await self._cloud.image.get_image(image_id)
            except CloudError as error:
                self._reads.failed_in_part("images by their ids", error)
        self._ledger.images_seen(images)
        return images

    async def _explained(self, job: Job, ending: Ending) -> Ending:
        """The ending with the cloud's own account of the failure, where it keeps one."""
        words = None
        try:
            words = await self._cloud.block_storage.failure_reason(job.volume_id, job.request_id)
        except CloudError as error:
            self._reads.failed_in_part("the reasons of failures", error)
        reason = f"{ending.reason}: {words}" if words else ending.reason
        return Ending(reason=reason, code=ending.code, request_id=job.request_id)

    def _is_overdue(self, job: Job) -> bool:
        return job.deadline_at is not None and self._ledger.now() >= job.deadline_at

    def _is_nearly_overdue(self, job: Job) -> bool:
        """Whether it is time to note whether the image moves."""
        until = job.deadline_at
        return until is not None and self._ledger.now() >= until - decide.still_for_s(job)

    def _forget(self, job: Job) -> None:
        self._free.forget(job)
        self._overdue.forget(job)


def _mark(image: Image | None) -> tuple[object, ...] | None:
    return None if image is None else (image.status, image.size_bytes, image.updated_at)
