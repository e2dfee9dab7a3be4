"""Settling unknown outcomes: look at the cloud until it is plain what became of a request, then go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from batchexport.config import Settings
from batchexport.engine import decide
from batchexport.engine.ledger import Ledger, Unsettled
from batchexport.engine.ports import Cloud
from batchexport.errors import CloudError, FatalError
from batchexport.model import Accepted, Image, JobState
from batchexport.retry import UNREACHABLE
from batchexport.store import StateFile

log = logging.getLogger(__name__)

#: Beyond this many jobs in doubt, two lists cost less than two reads for each.
SINGLE_READS = 4


class Sight(msgspec.Struct, frozen=True):
    """What one look saw of one job: its volume first, then the images of its name."""

    uploading: bool
    missing: bool  #: the cloud knows no such volume; a list cannot tell and says False
    images: Sequence[Image]


class Settler:
    """Looks for the jobs in doubt, together, until each is adopted, sent again or given to a person."""

    def __init__(self, cloud: Cloud, state: StateFile, ledger: Ledger, settings: Settings) -> None:
        self._cloud = cloud
        self._state = state
        self._ledger = ledger
        self._settle_s = settings.limits.settle_s

    async def run(self) -> None:
        """Settle for ever; the caller cancels it when nothing is in doubt any more."""
        while True:
            while not self._ledger.unsettled:
                await asyncio.wait([self._ledger.next_change()])
            try:
                await self.look()
            except FatalError as error:
                self._ledger.blind = True
                self._ledger.stop(error)
                return
            except CloudError as error:
                log.warning("cannot look for requests without an answer (%s); looking again", error)
            if self._ledger.unsettled:
                await asyncio.sleep(self._interval_s())

    async def look(self) -> None:
        """One look at every job in doubt."""
        doubts = list(self._ledger.unsettled.values())
        read = self._read_each if len(doubts) <= SINGLE_READS else self._read_lists
        for doubt, sight in zip(doubts, await read(doubts), strict=True):
            await self._settle(doubt, sight)

    def _interval_s(self) -> float:
        """Half the settling time, 1 to 30 s: the fewest looks that show a lost request to be lost."""
        return min(30.0, max(1.0, self._settle_s / 2))

    async def _read_each(self, doubts: Sequence[Unsettled]) -> list[Sight]:
        sights = []
        for doubt in doubts:
            volume = await self._cloud.volume(doubt.job.volume_id)
            images = await self._cloud.images_named(doubt.job.image_name)
            uploading = volume is not None and volume.status == "uploading"
            sights.append(Sight(uploading, volume is None, images))
        return sights

    async def _read_lists(self, doubts: Sequence[Unsettled]) -> list[Sight]:
        uploading: set[str] = set()
        async for volumes in self._cloud.volumes(status="uploading"):
            uploading.update(volume.volume_id for volume in volumes)
        images: dict[str, list[Image]] = {doubt.job.image_name: [] for doubt in doubts}
        since = min(doubt.job.first_intent_at or 0.0 for doubt in doubts) - decide.CLOCK_MARGIN_S
        async for page in self._cloud.images(created_since=since):
            for image in page:
                if image.name in images:
                    images[image.name].append(image)
        return [Sight(d.job.volume_id in uploading, False, images[d.job.image_name]) for d in doubts]

    async def _ours(self, doubt: Unsettled, images: Sequence[Image]) -> list[Image]:
        """Those of these images that could be the job's."""
        job = doubt.job
        earlier = await self._state.earlier_image_ids(job.job_id) if images else frozenset[str]()
        return decide.candidates(images, job, earlier, run_id=self._state.run.run_id)

    async def _is_named(self, doubt: Unsettled) -> bool:
        """A last look by the name alone: what a list leaves out for its time must not be made twice."""
        return bool(await self._ours(doubt, await self._cloud.images_named(doubt.job.image_name)))

    async def _settle(self, doubt: Unsettled, sight: Sight) -> None:
        job = doubt.job
        ours = await self._ours(doubt, sight.images)
        loop_now = asyncio.get_running_loop().time()
        if sight.uploading or ours:
            doubt.clear_since = None
        elif doubt.clear_since is None:
            doubt.clear_since = loop_now
        match decide.settle(
            ours,
            uploading=sight.uploading,
            missing=sight.missing,
            clear_for_s=None if doubt.clear_since is None else loop_now - doubt.clear_since,
            settle_s=0.0 if doubt.refused else self._settle_s,
        ):
            case decide.Adopt(image):
                log.info("volume %s: found its image %s, going on with it", job.volume_id, image.image_id)
                self._ledger.accepted(job, Accepted(image_id=image.image_id, size_gib=None, request_id=None))
            case decide.Ambiguous(ending):
                self._ledger.ended(job, JobState.AMBIGUOUS, ending)
            case decide.Fail(ending):
                self._ledger.ended(job, JobState.FAILED, ending)
            case decide.Again() if await self._is_named(doubt):
                doubt.clear_since = None
            case decide.Again(ending) if doubt.refused or doubt.alone:
                self._ledger.again(job, doubt.ending or ending)
            case decide.Again(ending):
                # Behind the others, so that one row that never arrives does not keep them from their turn.
                after_s = UNREACHABLE.delay_s(1)
                self._ledger.put_back(job, doubt.ending or ending, after_s=after_s, counted=False)
            case decide.Wait():
                pass
