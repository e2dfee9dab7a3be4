"""How exports end whose image was not seen turning active: failed, complete after all, or stuck."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Sequence

import msgspec

from batchexport.config import Settings
from batchexport.engine import decide
from batchexport.engine.ledger import Ledger
from batchexport.engine.polling import SINGLE_READS, ActiveImages, PollHealth, RoundRobin
from batchexport.engine.ports import Cloud
from batchexport.errors import CloudError, QuotaError, RefusedError
from batchexport.model import Ending, Image, Job, JobState, Volume

#: Exports that failed in a row because the image store is full or the quota used up: the next will fail, too.
FULL_AFTER = 3
_FULL_WORDS = re.compile(r"quota|no space left|not enough (space|storage)|storage is full", re.IGNORECASE)


class Unchanged(msgspec.Struct):
    """What every poll has shown of an image, and since when."""

    since: float  #: loop time
    progress: object  #: what would change if the image made progress; None = the image is missing


class ProgressTracker:
    """Remembers since when the image of each export has made no progress."""

    def __init__(self) -> None:
        self._unchanged: dict[str, Unchanged] = {}  # by image id

    def unchanged_s(self, job: Job, progress: object) -> float:
        """Seconds for which every poll has shown this same progress, the current poll included."""
        loop_now = asyncio.get_running_loop().time()
        unchanged = self._unchanged.get(job.image_id or "")
        if unchanged is None or unchanged.progress != progress:
            unchanged = self._unchanged[job.image_id or ""] = Unchanged(loop_now, progress)
        return loop_now - unchanged.since

    def forget(self, job: Job) -> None:
        """The export has ended, or the count starts again."""
        self._unchanged.pop(job.image_id or "", None)


class Endings:
    """Finds out how exports ended, each by itself: one that cannot be read delays no other."""

    def __init__(
        self, cloud: Cloud, ledger: Ledger, settings: Settings, images: ActiveImages, health: PollHealth
    ) -> None:
        self._cloud = cloud
        self._ledger = ledger
        self._settings = settings
        self._active_images = images
        self._health = health
        self._free = ProgressTracker()  # of exports whose volume was seen free
        self._overdue = ProgressTracker()  # of exports past their deadline, or close to it
        self._round_robin = RoundRobin()
        self._full = 0  # exports in a row that failed for lack of space

    def are_uploading(self, jobs: Iterable[Job]) -> None:
        """The volumes of these are being copied: they were not free all the time."""
        for job in jobs:
            self._free.forget(job)

    def succeed(self, job: Job, ending: Ending) -> None:
        """The image is complete."""
        self._full = 0
        self._forget(job)
        self._ledger.finish(job, JobState.SUCCEEDED, ending)

    async def poll_one_by_one(self, jobs: Sequence[Job]) -> None:
        """Judge these, whose volumes could not be listed: each is read by its id first."""
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
        """Find out how exports ended whose volume is free but whose image was not seen active."""
        images = await self._images_of(free)
        for job in free:
            image_id = job.image_id or ""
            if image_id in images and image_id in self._ledger.exporting:
                await self._judge(job, images[image_id])

    async def _judge(self, job: Job, image: Image | None) -> None:
        match decide.verdict(
            image,
            unchanged_s=self._free.unchanged_s(job, _progress(image)),
            size_gib=job.size_gib,
            overdue=self._is_overdue(job),
        ):
            case decide.Succeed() if image is not None and image.status == "active":
                self.succeed(job, decide.finished(image, job, self._settings.image))
            case decide.Succeed(ending):
                self.succeed(job, ending)
            case decide.Retry(ending):
                contradicted = await self._is_contradicted(job, image)
                if contradicted is False:
                    await self._retry(job, ending)
                elif contradicted:
                    self._free.forget(job)
            case decide.Wait():
                pass

    async def _retry(self, job: Job, ending: Ending) -> None:
        ending = await self._explained(job, ending)
        if job.image_id not in self._ledger.exporting:  # ended while the cloud was asked for the reason
            return
        self._forget(job)
        self._ledger.retry_or_fail(job, ending)
        self._full = self._full + 1 if _FULL_WORDS.search(ending.reason) else 0
        if self._full >= FULL_AFTER:
            reason = f"{self._full} exports in a row found no space for their images: {ending.reason}"
            hint = "free some space or raise the quota, then run the same command again"
            self._ledger.stop(QuotaError(reason, hint=hint))

    async def end_stuck(self, jobs: Sequence[Job], *, uploading: Collection[str]) -> None:
        """Fail those of these that are past their deadline and whose image makes no progress.

        `uploading`: ids of volumes just seen uploading; others are read by their ids.
        """
        late = [
            job for job in jobs if job.image_id in self._ledger.exporting and self._is_nearly_overdue(job)
        ]
        late = list(self._round_robin.of(late, 10 * SINGLE_READS))
        if not late:
            return
        images = await self._images_of(late)
        for job in late:
            image_id = job.image_id or ""
            is_read = image_id in images
            image = images.get(image_id)
            unchanged_s = self._overdue.unchanged_s(job, _progress(image) if is_read else "unread")
            if image_id not in self._ledger.exporting or not self._is_overdue(job):
                continue
            if image is not None and image.status in decide.COMPLETE_STATUSES:
                await self._judge(job, image)  # no list shows it: complete, whatever the volume does
                continue
            if unchanged_s >= decide.stuck_after_s(job):
                await self._end_stuck(job, image, is_read=is_read, uploading=uploading)

    async def _end_stuck(
        self, job: Job, image: Image | None, *, is_read: bool, uploading: Collection[str]
    ) -> None:
        volume, error = None, None
        is_uploading: bool | None = True
        if self._ledger.subject_of(job) not in uploading:
            volume, error = await self._volume(job)
            is_uploading = None if error is not None else volume is not None and volume.status == "uploading"
        if is_read and is_uploading is False:
            return  # `judge` ends it
        if job.image_id not in self._ledger.exporting:
            return
        self._forget(job)
        ending = decide.stuck(job, image, is_read=is_read, is_uploading=is_uploading)
        self._ledger.finish(job, JobState.FAILED, ending)

    async def _is_contradicted(self, job: Job, image: Image | None) -> bool | None:
        """Whether a second witness of another kind shows that the export did not fail; None = not known.

        A volume that a list did not show is read by its id, an image missing by its id is looked up by its
        name. A read that is refused, or fails past the deadline, is no witness.
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
            self._health.failed_in_part("images by name", unread)
            return False if self._is_no_witness(unread, job) else None
        return any(other.image_id == job.image_id for other in named)

    def _is_no_witness(self, error: CloudError, job: Job) -> bool:
        """Whether to go on without a read that failed: it was refused, or the deadline is past."""
        return isinstance(error, RefusedError) or self._is_overdue(job)

    async def _volume(self, job: Job) -> tuple[Volume | None, CloudError | None]:
        """The volume of a job by its id, or the error of reading it."""
        try:
            return await self._cloud.block_storage.get_volume(self._ledger.subject_of(job)), None
        except CloudError as error:
            self._health.failed_in_part("volumes by their ids", error)
            return None, error

    async def _images_of(self, jobs: Sequence[Job]) -> dict[str, Image | None]:
        """The images of these jobs by id, None where there is none; unreadable ones are left out."""
        wanted = [job.image_id for job in jobs if job.image_id]
        images: dict[str, Image | None] = {}
        if len(wanted) > SINGLE_READS:
            try:
                async for page in self._active_images.by_ids(wanted):
                    images.update((image.image_id, image) for image in page if image.image_id in set(wanted))
            except CloudError as error:
                self._health.failed_in_part("images by lists of ids", error)
        # A list proves only what it shows: images it leaves out are read by their ids.
        left = [image_id for image_id in wanted if image_id not in images]
        for image_id in self._round_robin.of(left, 2 * SINGLE_READS):
            try:
                images[image_id] = await self._cloud.image.get_image(image_id)
            except CloudError as error:
                self._health.failed_in_part("images by their ids", error)
        self._ledger.images_seen(images)
        return images

    async def _explained(self, job: Job, ending: Ending) -> Ending:
        """The ending with the cloud's own message on the failure, where it keeps one."""
        message = None
        try:
            message = await self._cloud.block_storage.failure_reason(
                self._ledger.subject_of(job), job.request_id
            )
        except CloudError as error:
            self._health.failed_in_part("the reasons of failures", error)
        reason = f"{ending.reason}: {message}" if message else ending.reason
        return Ending(reason=reason, code=ending.code, request_id=job.request_id)

    def _is_overdue(self, job: Job) -> bool:
        return job.deadline_at is not None and self._ledger.now() >= job.deadline_at

    def _is_nearly_overdue(self, job: Job) -> bool:
        """Whether to begin watching the image for progress."""
        until = job.deadline_at
        return until is not None and self._ledger.now() >= until - decide.stuck_after_s(job)

    def _forget(self, job: Job) -> None:
        self._free.forget(job)
        self._overdue.forget(job)


def _progress(image: Image | None) -> tuple[object, ...] | None:
    return None if image is None else (image.status, image.size_bytes, image.updated_at)
