"""Watching exports, two lists a poll for all of them: images that turned active, volumes still uploading.

Where a list is refused, too slow or incomplete, images and volumes are read by their ids, some in each poll.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping

from batchexport.config import Settings
from batchexport.engine import decide
from batchexport.engine.endings import Endings
from batchexport.engine.expected_times import ExpectedTimes
from batchexport.engine.ledger import Ledger
from batchexport.engine.polling import SINGLE_READS, ActiveImages, PollBackoff, PollHealth, RoundRobin
from batchexport.engine.ports import Cloud
from batchexport.errors import CloudError
from batchexport.model import Job

#: Records on one page of a list, at best.
PAGE = 1000
#: What exports of copies are called where it is learned how long they take.
COPIES = "exports of copies"
#: While every copy is uploading, only one poll of so many asks for images as well.
IMAGES_EVERY = 4


class Watcher:
    """Polls the cloud at even intervals and ends each export that the cloud has ended."""

    def __init__(self, cloud: Cloud, ledger: Ledger, settings: Settings) -> None:
        self._cloud = cloud
        self._ledger = ledger
        self._settings = settings
        self._health = PollHealth(ledger, purpose="watch the exports")
        self._images = ActiveImages(cloud)
        self._endings = Endings(cloud, ledger, settings, self._images, self._health)
        self._polling = asyncio.Lock()
        self._polls_until_volumes = 0
        self._volumes_backoff = PollBackoff()
        self._are_volumes_listed = True  # when it was last tried
        self._round_robin = RoundRobin()
        self._expected = ExpectedTimes()
        self._polls_until_images = 0

    async def run(self) -> None:
        """Watch for ever; the caller cancels it when nothing is left to watch.

        Returns once polling failed for so long that the run was stopped for it.
        """
        loop = asyncio.get_running_loop()
        poll_at = loop.time()
        extra_s = 0.0
        while not self._ledger.polling_unavailable:
            while not self._ledger.exporting:
                await asyncio.wait([self._ledger.next_change()])
                poll_at = loop.time()
            poll_at = max(poll_at + self._interval_s() + extra_s, loop.time())
            await asyncio.sleep(poll_at - loop.time())
            try:
                await self.poll()
            except CloudError as error:
                extra_s = self._health.failed(error)
            else:
                extra_s = 0.0
                self._health.succeeded()

    async def poll(self) -> None:
        """Look at all exports once, never twice at the same time: both would end the same ones.

        Volumes first, then images: an export whose volume is free and whose image is missing has failed.
        Raises CloudError where nothing could be read.
        """
        async with self._polling:
            await self._poll()

    async def _poll(self) -> None:
        exporting = dict(self._ledger.exporting)
        if not exporting:
            return
        uploading, unlisted = await self._uploading(len(exporting))
        try:
            if not self._are_copies_uploading(exporting, uploading):
                await self._read_active()
        except CloudError as error:
            if uploading is None:
                raise
            self._health.failed_in_part("images", error)
        else:
            if unlisted is not None:
                self._health.failed_in_part("the list of volumes", unlisted)
        left = [job for image_id, job in exporting.items() if image_id in self._ledger.exporting]
        if uploading is not None:
            subject_of = self._ledger.subject_of
            free = [job for job in left if subject_of(job) not in uploading]
            self._endings.are_uploading(job for job in left if subject_of(job) in uploading)
            await self._endings.judge(free)
        elif not self._are_volumes_listed:
            await self._endings.poll_one_by_one(self._round_robin.of(left, SINGLE_READS))
        await self._endings.end_stuck(left, uploading=uploading or ())

    def _are_copies_uploading(self, exporting: Mapping[str, Job], uploading: Collection[str] | None) -> bool:
        """Whether only copies are exported, and none has ended: nobody but us uses them.

        A list may lag, so that images are read now and then all the same.
        """
        self._polls_until_images -= 1
        if uploading is None or self._polls_until_images <= 0 or not self._are_copies(exporting.values()):
            self._polls_until_images = IMAGES_EVERY
            return False
        return all(self._ledger.subject_of(job) in uploading for job in exporting.values())

    def _are_copies(self, jobs: Iterable[Job]) -> bool:
        return all(job.job_id in self._ledger.subjects for job in jobs)

    def _interval_s(self) -> float:
        if (set_s := self._settings.limits.poll_interval_s) is not None:
            return set_s
        youngest = next(reversed(self._ledger.exporting.values()), None)
        if youngest is None or youngest.accepted_at is None:
            return decide.poll_interval_s(0.0)
        interval_s = decide.poll_interval_s(self._ledger.now() - youngest.accepted_at)
        if not self._are_copies(self._ledger.exporting.values()):
            return interval_s
        now = self._ledger.now()
        ages_s = [now - (job.accepted_at or now) for job in self._ledger.exporting.values()]
        return self._expected.wait_s(COPIES, ages_s, step_s=interval_s)

    async def _uploading(self, exports: int) -> tuple[set[str] | None, CloudError | None]:
        """Ids of the volumes that the list shows as uploading; None = not read, with the error if it failed.

        The list costs a page for each thousand exports, so it is read in one poll of so many: one request a
        poll, however many exports there are.
        """
        self._polls_until_volumes -= 1
        if self._polls_until_volumes > 0 or not self._volumes_backoff.is_due():
            return None, None
        found: set[str] = set()
        try:
            async for page in self._cloud.block_storage.volumes(status="uploading"):
                found.update(volume.volume_id for volume in page)
        except CloudError as error:
            self._are_volumes_listed = False
            self._volumes_backoff.failed()
            return None, error
        self._are_volumes_listed = True
        self._volumes_backoff.succeeded()
        self._polls_until_volumes = -(-exports // PAGE)
        return found, None

    async def _read_active(self) -> None:
        """End every export whose image has turned active since the last poll."""
        async for image in self._images.read(self._ledger.exporting):
            if job := self._ledger.exporting.get(image.image_id):
                if job.job_id in self._ledger.subjects and job.accepted_at is not None:
                    self._expected.took(COPIES, self._ledger.now() - job.accepted_at)
                self._endings.succeed(job, decide.finished(image, job, self._settings.image))
