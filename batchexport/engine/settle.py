"""Settling requests in doubt: poll the cloud until it is certain what became of each, then continue."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from batchexport.config import Settings
from batchexport.engine import decide
from batchexport.engine.ledger import JobInDoubt, Ledger, log_fields
from batchexport.engine.polling import AWAY_MAX_S, PollBackoff, RoundRobin, is_signed_out
from batchexport.engine.ports import Cloud
from batchexport.engine.prior_images import PriorImages
from batchexport.errors import AuthenticationError, CloudError, RefusedError
from batchexport.model import Accepted, Image, Job, JobState, Volume
from batchexport.retry import UNREACHABLE

log = logging.getLogger(__name__)

#: What one poll can decide about a job in doubt.
Decision = decide.Adopt | decide.Ambiguous | decide.Retry | decide.Fail | decide.Wait

#: For more jobs in doubt than this, two lists cost less than two reads for each.
SINGLE_READS = 4
#: Jobs polled one by one in one poll where the lists do not work.
MAX_SINGLE_READS = 20


class Evidence(msgspec.Struct, frozen=True):
    """What one poll saw of one job: its volume first, then the images of its name."""

    uploading: bool
    missing: bool  #: the cloud has no such volume; a list cannot tell and says False
    named: Sequence[Image] | None  #: those that the list shows; None = not read yet


class Settler:
    """Polls the jobs in doubt until each is adopted, retried, failed or left to a person as ambiguous."""

    def __init__(self, cloud: Cloud, ledger: Ledger, prior: PriorImages, settings: Settings) -> None:
        self._cloud = cloud
        self._ledger = ledger
        self._prior = prior
        self._settle_s = settings.limits.settle_s
        self._image = settings.image
        self._lists_backoff = PollBackoff()
        self._round_robin = RoundRobin()

    async def run(self) -> None:
        """Settle for ever; the caller cancels it when nothing is in doubt any more."""
        while True:
            while not self._ledger.in_doubt:
                await asyncio.wait([self._ledger.next_change()])
            try:
                await self.poll()
            except CloudError as error:
                extra = {"action": "settle_failed", "in_doubt": len(self._ledger.in_doubt)}
                log.warning("cannot check in-doubt requests (%s); checking again", error, extra=extra)
                self._give_up_overdue(error)
            if self._ledger.in_doubt:
                await asyncio.sleep(self._interval_s())

    async def poll(self) -> None:
        """Look at every job in doubt once. One that cannot be read delays no other."""
        doubts: Sequence[JobInDoubt] = list(self._ledger.in_doubt.values())
        evidence: Sequence[Evidence | None] | None = None
        if len(doubts) > SINGLE_READS:
            evidence = await self._read_lists(doubts)
        if evidence is None:
            doubts = self._round_robin.of(doubts, MAX_SINGLE_READS)
            evidence = [None] * len(doubts)
        for doubt, seen in zip(doubts, evidence, strict=True):
            try:
                await self._settle(doubt, await self._read(doubt.job) if seen is None else seen)
            except AuthenticationError:
                raise
            except CloudError as error:
                extra = log_fields("settle_failed", doubt.job)
                log.warning(
                    "volume %s: cannot check its request (%s)", doubt.job.volume_id, error, extra=extra
                )
                self._give_up(doubt, error)

    def _give_up_overdue(self, error: CloudError) -> None:
        for doubt in list(self._ledger.in_doubt.values()):
            self._give_up(doubt, error)

    def _give_up(self, doubt: JobInDoubt, error: CloudError) -> None:
        """Leave a job to a person that could not be read until its deadline, or hours after it.

        What is refused stays refused; a cloud that does not answer may be away for hours.
        """
        if self._is_overdue(doubt, by_s=0.0 if isinstance(error, RefusedError) else AWAY_MAX_S):
            ending = decide.ending_of(error, "cannot find out what became of its request")
            self._ledger.finish(doubt.job, JobState.AMBIGUOUS, replace(ending, code="ambiguous"))

    def _is_overdue(self, doubt: JobInDoubt, *, by_s: float = 0.0) -> bool:
        deadline_s = decide.deadline_s(doubt.job.size_gib, doubt.job.options.over(self._image).timeout_s)
        return asyncio.get_running_loop().time() - doubt.since >= deadline_s + by_s

    def _interval_s(self) -> float:
        """Half the in-doubt timeout, 1 to 30 s: the fewest polls that prove a lost request lost."""
        return min(30.0, max(1.0, self._settle_s / 2))

    async def _read(self, job: Job) -> Evidence:
        volume = await self._cloud.block_storage.get_volume(self._ledger.subject_of(job))
        uploading = volume is not None and volume.status == "uploading"
        return Evidence(uploading, volume is None, None)

    async def _read_lists(self, doubts: Sequence[JobInDoubt]) -> list[Evidence] | None:
        """What two lists show; None where they do not work, and jobs are read one by one."""
        if not self._lists_backoff.is_due():
            return None
        try:
            evidence = await self._listed(doubts)
        except CloudError as error:
            if is_signed_out(error):
                raise
            self._lists_backoff.failed()
            extra = {"action": "settle_lists_failed", "in_doubt": len(doubts)}
            log.warning(
                "cannot list images and volumes (%s); checking requests one by one", error, extra=extra
            )
            return None
        self._lists_backoff.succeeded()
        return evidence

    async def _listed(self, doubts: Sequence[JobInDoubt]) -> list[Evidence]:
        """What two lists show. They prove only that; what they leave out is read by id before a decision."""
        uploading: set[str] = set()
        async for volumes in self._cloud.block_storage.volumes(status="uploading"):
            uploading.update(volume.volume_id for volume in volumes)
        images: dict[str, list[Image]] = {doubt.job.image_name: [] for doubt in doubts}
        since = min(doubt.job.first_intent_at or 0.0 for doubt in doubts) - decide.CLOCK_MARGIN_S
        async for page in self._cloud.image.images(created_since=since):
            for image in page:
                if image.name in images:
                    images[image.name].append(image)
        return [
            Evidence(self._ledger.subject_of(d.job) in uploading, False, images[d.job.image_name])
            for d in doubts
        ]

    async def _settle(self, doubt: JobInDoubt, seen: Evidence) -> None:
        decision = await self._judge(doubt, seen)
        if seen.named is not None and isinstance(decision, decide.Retry | decide.Ambiguous):
            # A list may be late or short: before anything is sent or given up, the job is read by itself.
            seen = await self._read(doubt.job)
            decision = await self._judge(doubt, seen)
        if isinstance(decision, decide.Fail) and seen.missing:
            decision = await self._second_witness(doubt, decision)
        self._apply(doubt, decision)

    async def _second_witness(self, doubt: JobInDoubt, decision: decide.Fail) -> Decision:
        """The decision on a job whose volume is missing by its id, after a look at the list of volumes.

        Where the list does not work, the volume must be missing as long as anything that counts as absent.
        """
        try:
            volume = await self._volume_in_list(self._ledger.subject_of(doubt.job))
        except CloudError as error:
            missing_s = asyncio.get_running_loop().time() - (doubt.clear_since or math.inf)
            if is_signed_out(error) or missing_s < decide.ABSENT_MAX_S:
                raise
            return decision
        if volume is None:
            return decision
        return await self._judge(doubt, Evidence(volume.status == "uploading", False, None))

    async def _judge(self, doubt: JobInDoubt, seen: Evidence) -> Decision:
        prior = await self._prior.look(doubt.job, named=seen.named)
        loop_now = asyncio.get_running_loop().time()
        doubt.seen_uploading = doubt.seen_uploading or seen.uploading
        if seen.uploading or prior.found:
            doubt.clear_since = None
        elif doubt.clear_since is None:
            doubt.clear_since = loop_now
        decision = decide.settle(
            prior.found,
            proved=prior.is_proved or doubt.seen_uploading,
            uploading=seen.uploading,
            missing=seen.missing,
            clear_for_s=None if doubt.clear_since is None else loop_now - doubt.clear_since,
            settle_s=self._settle_s,
            overdue=self._is_overdue(doubt),
        )
        if isinstance(decision, decide.Adopt) and decision.image in prior.live:
            self._ledger.note_adoption(doubt.job)
        return decision

    async def _volume_in_list(self, volume_id: str) -> Volume | None:
        """The volume as the list of all volumes shows it."""
        async for page in self._cloud.block_storage.volumes():
            for volume in page:
                if volume.volume_id == volume_id:
                    return volume
        return None

    def _apply(self, doubt: JobInDoubt, decision: Decision) -> None:
        job = doubt.job
        match decision:
            case decide.Adopt(image):
                extra = log_fields("image_adopted", job, image_id=image.image_id)
                log.info("volume %s: adopted its image %s", job.volume_id, image.image_id, extra=extra)
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
