"""Watching exports: pages, not jobs. One list of what turned active, one of what is still uploading.

Neither list has to be there: what one does not show, or is refused, is read by its id, some in each look.
"""

from __future__ import annotations

import asyncio

from batchexport.config import Settings
from batchexport.engine import decide
from batchexport.engine.endings import Endings
from batchexport.engine.ledger import Ledger
from batchexport.engine.polling import SINGLE_READS, ActiveFeed, Pause, Reads, Turns
from batchexport.engine.ports import Cloud
from batchexport.errors import CloudError

#: A list page carries this many records at best.
PAGE = 1000


class Watcher:
    """Looks at the cloud in even steps and ends each export that the cloud has ended."""

    def __init__(self, cloud: Cloud, ledger: Ledger, settings: Settings) -> None:
        self._cloud = cloud
        self._ledger = ledger
        self._settings = settings
        self._reads = Reads(ledger, purpose="watch the exports")
        self._feed = ActiveFeed(cloud)
        self._endings = Endings(cloud, ledger, settings, self._feed, self._reads)
        self._looking = asyncio.Lock()
        self._looks_until_volumes = 0
        self._volumes_pause = Pause()  # of the list of volumes, after it failed
        self._are_volumes_listed = True  # when it was last tried
        self._turns = Turns()

    async def run(self) -> None:
        """Watch for ever; the caller cancels it when nothing is left to watch.

        Returns where the cloud refused or answered nothing for so long that the run was stopped for it.
        """
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        extra_s = 0.0
        while not self._ledger.polling_unavailable:
            while not self._ledger.exporting:
                await asyncio.wait([self._ledger.next_change()])
                look_at = loop.time()
            look_at = max(look_at + self._interval_s() + extra_s, loop.time())
            await asyncio.sleep(look_at - loop.time())
            try:
                await self.look()
            except CloudError as error:
                extra_s = self._reads.failed(error)
            else:
                extra_s = 0.0
                self._reads.worked()

    async def look(self) -> None:
        """One look at all exports, alone: two at once would end the same ones.

        Volumes first, then images, so that what is free and has no image has failed. Raises CloudError where
        nothing could be read.
        """
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        exporting = dict(self._ledger.exporting)
        if not exporting:
            return
        uploading, unlisted = await self._uploading(len(exporting))
        try:
            await self._read_active()
        except CloudError as error:
            if uploading is None:
                raise
            self._reads.failed_in_part("images", error)
        else:
            if unlisted is not None:
                self._reads.failed_in_part("the list of volumes", unlisted)
        left = [job for image_id, job in exporting.items() if image_id in self._ledger.exporting]
        if uploading is not None:
            free = [job for job in left if job.volume_id not in uploading]
            self._endings.are_uploading(job for job in left if job.volume_id in uploading)
            await self._endings.judge(free)
        elif not self._are_volumes_listed:
            await self._endings.look_singly(self._turns.of(left, SINGLE_READS))
        await self._endings.end_stuck(left, uploading=uploading or ())

    def _interval_s(self) -> float:
        if (asked := self._settings.limits.poll_interval_s) is not None:
            return asked
        youngest = next(reversed(self._ledger.exporting.values()), None)
        if youngest is None or youngest.accepted_at is None:
            return decide.poll_interval_s(0.0)
        return decide.poll_interval_s(self._ledger.now() - youngest.accepted_at)

    async def _uploading(self, exports: int) -> tuple[set[str] | None, CloudError | None]:
        """The volumes that the list shows as uploading, or None when it was not read, and why, if it failed.

        The list costs a page for each thousand exports, so it is read every so many looks: one request a
        look, whatever the number of exports. One that failed is left alone for some looks.
        """
        self._looks_until_volumes -= 1
        if self._looks_until_volumes > 0 or not self._volumes_pause.is_over():
            return None, None
        found: set[str] = set()
        try:
            async for page in self._cloud.block_storage.volumes(status="uploading"):
                found.update(volume.volume_id for volume in page)
        except CloudError as error:
            self._are_volumes_listed = False
            self._volumes_pause.failed()
            return None, error
        self._are_volumes_listed = True
        self._volumes_pause.worked()
        self._looks_until_volumes = -(-exports // PAGE)
        return found, None

    async def _read_active(self) -> None:
        """End every export whose image has turned active since the last look."""
        async for image in self._feed.active(self._ledger.exporting):
            if job := self._ledger.exporting.get(image.image_id):
                self._endings.succeed(job, decide.finished(image, job, self._settings.image))
