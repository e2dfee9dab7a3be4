"""Settling unknown outcomes: look at the cloud until it is plain what became of a request, then go on."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from batchexport.config import Settings
from batchexport.engine import decide
from batchexport.engine.ledger import JobInDoubt, Ledger
from batchexport.engine.polling import AWAY_MAX_S, Pause, Turns, is_signed_out
from batchexport.engine.ports import Cloud
from batchexport.engine.prior_images import PriorImages
from batchexport.errors import CloudError, RefusedError, SignInError
from batchexport.model import Accepted, Image, Job, JobState, Volume
from batchexport.retry import UNREACHABLE

log = logging.getLogger(__name__)

#: What one look can say of a job in doubt.
Settled = decide.Adopt | decide.Ambiguous | decide.Retry | decide.Fail | decide.Wait

#: Beyond this many jobs in doubt, two lists cost less than two reads for each.
SINGLE_READS = 4
#: As many are looked at one by one in one look where the lists are not to be had.
MOST_SINGLE_READS = 20


class Sight(msgspec.Struct, frozen=True):
    """What one look saw of one job: its volume first, then the images of its name."""

    uploading: bool
    missing: bool  #: the cloud knows no such volume; a list cannot tell and says False
    named: Sequence[Image] | None  #: those that the list shows; None = not read yet


class Settler:
    """Looks for the jobs in doubt, together, until each is adopted, sent again or given to a person."""

    def __init__(self, cloud: Cloud, ledger: Ledger, prior: PriorImages, settings: Settings) -> None:
        self._cloud = cloud
        self._ledger = ledger
        self._prior = prior
        self._settle_s = settings.limits.settle_s
        self._image = settings.image
        self._lists_pause = Pause()  # after they failed
        self._turns = Turns()

    async def run(self) -> None:
        """Settle for ever; the caller cancels it when nothing is in doubt any more."""
        while True:
            while not self._ledger.in_doubt:
                await asyncio.wait([self._ledger.next_change()])
            try:
                await self.look()
            except CloudError as error:
                log.warning("cannot check in-doubt requests (%s); checking again", error)
                self._give_up_overdue(error)
            if self._ledger.in_doubt:
                await asyncio.sleep(self._interval_s())

    async def look(self) -> None:
        """One look at every job in doubt. One that cannot be looked at keeps none of the others waiting."""
        doubts: Sequence[JobInDoubt] = list(self._ledger.in_doubt.values())
        sights: Sequence[Sight | None] | None = None
        if len(doubts) > SINGLE_READS:
            sights = await self._read_lists(doubts)
        if sights is None:
            doubts = self._turns.of(doubts, MOST_SINGLE_READS)
            sights = [None] * len(doubts)
        for doubt, sight in zip(doubts, sights, strict=True):
            try:
                await self._settle(doubt, await self._read(doubt.job) if sight is None else sight)
            except SignInError:
                raise
            except CloudError as error:
                log.warning("volume %s: cannot check its request (%s)", doubt.job.volume_id, error)
                self._give_up(doubt, error)

    def _give_up_overdue(self, error: CloudError) -> None:
        for doubt in list(self._ledger.in_doubt.values()):
            self._give_up(doubt, error)

    def _give_up(self, doubt: JobInDoubt, error: CloudError) -> None:
        """Leave a job to a person that could not be looked at until its deadline, or hours after it.

        What is refused stays so; a cloud that does not answer may be away for hours.
        """
        if self._is_overdue(doubt, by_s=0.0 if isinstance(error, RefusedError) else AWAY_MAX_S):
            ending = decide.ending_of(error, "nobody can tell what became of its request")
            self._ledger.finish(doubt.job, JobState.AMBIGUOUS, replace(ending, code="ambiguous"))

    def _is_overdue(self, doubt: JobInDoubt, *, by_s: float = 0.0) -> bool:
        deadline_s = decide.deadline_s(doubt.job.size_gib, doubt.job.options.over(self._image).timeout_s)
        return asyncio.get_running_loop().time() - doubt.since >= deadline_s + by_s

    def _interval_s(self) -> float:
        """Half the settling time, 1 to 30 s: the fewest looks that show a lost request to be lost."""
        return min(30.0, max(1.0, self._settle_s / 2))

    async def _read(self, job: Job) -> Sight:
        volume = await self._cloud.block_storage.get_volume(job.volume_id)
        uploading = volume is not None and volume.status == "uploading"
        return Sight(uploading, volume is None, None)

    async def _read_lists(self, doubts: Sequence[JobInDoubt]) -> list[Sight] | None:
        """What two lists show, or None where they are not to be had: then each is read by itself."""
        if not self._lists_pause.is_over():
            return None
        try:
            sights = await self._listed(doubts)
        except CloudError as error:
            if is_signed_out(error):
                raise
            self._lists_pause.failed()
            log.warning("cannot list what requests in doubt may have made (%s); looking one by one", error)
            return None
        self._lists_pause.worked()
        return sights

    async def _listed(self, doubts: Sequence[JobInDoubt]) -> list[Sight]:
        """What two lists show. They prove what they show; what they leave out is read singly in the end."""
        uploading: set[str] = set()
        async for volumes in self._cloud.block_storage.volumes(status="uploading"):
            uploading.update(volume.volume_id for volume in volumes)
        images: dict[str, list[Image]] = {doubt.job.image_name: [] for doubt in doubts}
        since = min(doubt.job.first_intent_at or 0.0 for doubt in doubts) - decide.CLOCK_MARGIN_S
        async for page in self._cloud.image.images(created_since=since):
            for image in page:
                if image.name in images:
                    images[image.name].append(image)
        return [Sight(d.job.volume_id in uploading, False, images[d.job.image_name]) for d in doubts]

    async def _settle(self, doubt: JobInDoubt, sight: Sight) -> None:
        verdict = await self._judge(doubt, sight)
        if sight.named is not None and isinstance(verdict, decide.Retry | decide.Ambiguous):
            # A list may be late or short: before anything is sent or given up, each is read by itself.
            sight = await self._read(doubt.job)
            verdict = await self._judge(doubt, sight)
        if isinstance(verdict, decide.Fail) and sight.missing:
            verdict = await self._second_witness(doubt, verdict)
        self._apply(doubt, verdict)

    async def _second_witness(self, doubt: JobInDoubt, verdict: decide.Fail) -> Settled:
        """What becomes of a job whose volume is not found by its id, after a look at the list of volumes.

        Where there is no list, the volume must be missing for as long as anything that is called absent.
        """
        try:
            volume = await self._volume_in_list(doubt.job.volume_id)
        except CloudError as error:
            missing_s = asyncio.get_running_loop().time() - (doubt.clear_since or math.inf)
            if is_signed_out(error) or missing_s < decide.ABSENT_MAX_S:
                raise
            return verdict
        if volume is None:
            return verdict
        return await self._judge(doubt, Sight(volume.status == "uploading", False, None))

    async def _judge(self, doubt: JobInDoubt, sight: Sight) -> Settled:
        prior = await self._prior.look(doubt.job, named=sight.named)
        loop_now = asyncio.get_running_loop().time()
        doubt.seen_uploading = doubt.seen_uploading or sight.uploading
        if sight.uploading or prior.found:
            doubt.clear_since = None
        elif doubt.clear_since is None:
            doubt.clear_since = loop_now
        verdict = decide.settle(
            prior.found,
            proved=prior.is_proved or doubt.seen_uploading,
            uploading=sight.uploading,
            missing=sight.missing,
            clear_for_s=None if doubt.clear_since is None else loop_now - doubt.clear_since,
            settle_s=self._settle_s,
            overdue=self._is_overdue(doubt),
        )
        if isinstance(verdict, decide.Adopt) and verdict.image in prior.live:
            self._ledger.note_adoption(doubt.job)
        return verdict

    async def _volume_in_list(self, volume_id: str) -> Volume | None:
        """The volume as a list shows it that a read by its id does not."""
        async for page in self._cloud.block_storage.volumes():
            for volume in page:
                if volume.volume_id == volume_id:
                    return volume
        return None

    def _apply(self, doubt: JobInDoubt, verdict: Settled) -> None:
        job = doubt.job
        match verdict:
            case decide.Adopt(image):
                log.info("volume %s: found its image %s, going on with it", job.volume_id, image.image_id)
                self._ledger.accept(job, Accepted(image_id=image.image_id, size_gib=None, request_id=None))
            case decide.Ambiguous(ending):
                self._ledger.finish(job, JobState.AMBIGUOUS, ending)
            case decide.Fail(ending):
                self._ledger.finish(job, JobState.FAILED, ending)
            case decide.Retry(ending) if doubt.was_rejected or doubt.counts_as_attempt:
                self._ledger.retry_or_fail(job, doubt.ending or ending)
            case decide.Retry(ending):
                # Behind the others, so that one row that never arrives does not keep them from their turn.
                after_s = UNREACHABLE.delay_s(1)
                self._ledger.snooze(job, doubt.ending or ending, after_s=after_s, sent=True)
            case decide.Wait():
                pass
