"""The way of a job to the cloud: claim it on disk, send it once, write down what came of it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable

from batchexport.config import InUse, Settings
from batchexport.engine import decide
from batchexport.engine.ledger import Ledger
from batchexport.engine.ports import Cloud
from batchexport.engine.prior_images import PriorImages
from batchexport.engine.refusals import PAUSE_S, Forbidden, Refusals
from batchexport.engine.servers.witness import Witness
from batchexport.errors import (
    CloudError,
    FatalError,
    ForbiddenError,
    OutcomeUnknownError,
    RefusedError,
    RunStoppedError,
    SignInError,
    StateError,
    ThrottledError,
    TransientError,
    UnreachableError,
    VolumeStateError,
)
from batchexport.log_level import NOTICE
from batchexport.model import Accepted, ExportRequest, Job, JobState
from batchexport.retry import UNREACHABLE
from batchexport.store import StateFile

log = logging.getLogger(__name__)

#: So many requests in a row that came to nothing are the cloud's trouble, not the rows': the target waits.
TROUBLE_AFTER = 3
#: A cloud that takes no request for so long is given up for this run.
GIVE_UP_AFTER_S = 3600.0


#: How soon to look again whether a lease that ran out was renewed.
LEASE_LOOK_S = 0.25


class NotSentError(Exception):
    """The fence held a request back: the run is stopping, the lease is to be renewed, or it is too late."""


class Submitter:
    """Claims runnable jobs ahead of need, and has a few senders take them to the cloud one after another."""

    def __init__(
        self,
        cloud: Cloud,
        state: StateFile,
        ledger: Ledger,
        settings: Settings,
        prior: PriorImages,
        *,
        now: Callable[[], float] = time.time,
        most_gib: Callable[[float], int] | None = None,
    ) -> None:
        self._cloud = cloud
        self._state = state
        self._witness = Witness(cloud, state, ledger, settings)
        self._ledger = ledger
        self._settings = settings
        self._prior = prior
        self._now = now
        self._most_gib = most_gib  # of the volumes that may begin at a time; 0 = none; None = all
        self._ready: deque[Job] = deque()  # claimed, and no sender has them yet
        self._senders = 0
        self._unsent: dict[asyncio.Task[None], Job] = {}  # a sender has them, and nothing was sent
        self._taken = 0  # requests that the cloud took
        self._taken_before: dict[int, int] = {}  # job id -> how many it had taken when this job was not
        self._refusals = Refusals()
        self._in_vain = 0  # requests in a row that came to nothing
        self._told_of_trouble = False  # and somebody was told of it
        self._in_vain_since = 0.0
        self._hold_until = 0.0  # loop time before which nothing is claimed

    async def run(self) -> None:
        """Return when every row is settled, or when the run is stopping and what was sent has its answer."""
        async with asyncio.TaskGroup() as group:
            try:
                await self._feed(group)
            finally:
                self._return_ready()
            for task in list(self._unsent):
                task.cancel()

    async def _feed(self, group: asyncio.TaskGroup) -> None:
        while not self._ledger.stopping.is_set():
            change = self._ledger.next_change()
            claimed = await self._claim()
            self._ready.extend(claimed)
            self._start_senders(group)
            if claimed:
                continue
            wait_s = await self._idle_s()
            if wait_s is None:
                return
            await asyncio.wait([change], timeout=None if math.isinf(wait_s) else wait_s)

    def _return_ready(self) -> None:
        while self._ready:
            self._ledger.put_back(self._ready.popleft(), None, after_s=0.0, counted=False)

    def _start_senders(self, group: asyncio.TaskGroup) -> None:
        while self._senders < self._settings.limits.concurrency and (job := self._next()):
            self._senders += 1
            group.create_task(self._send_on(job))

    def _next(self) -> Job | None:
        """The next job to send now, if there is one."""
        if not self._ready or self._ledger.stopping.is_set() or self._is_held():
            return None
        return self._ready.popleft()

    async def _send_on(self, first: Job) -> None:
        """Send this job, and others while some are ready: a sender costs more to start than to keep."""
        try:
            job: Job | None = first
            while job is not None:
                await self._send(job)
                job = self._next()
        finally:
            self._senders -= 1

    async def _claim(self) -> list[Job]:
        room = self._room()
        ahead = max(0, self._at_once() - self._settings.limits.concurrency)
        if room <= 0 or len(self._ready) > ahead // 2:
            return []
        now_s = self._now()
        most_gib = self._most_gib(now_s) if self._most_gib else None
        if most_gib == 0:
            return []
        try:
            self._state.check_in_place()
        except StateError as error:
            self._ledger.stop(error)
            return []
        server_now_s = self._cloud.server_now_s()
        jobs = await self._state.claim(
            self._ledger.lease, room, now_s=now_s, server_now_s=server_now_s, most_gib=most_gib
        )
        self._ledger.claimed(jobs)
        return jobs

    def _is_too_late(self, job: Job) -> bool:
        """Whether the job fitted when it was claimed, and does not any more: the gate may have been shut."""
        most_gib = self._most_gib(self._now()) if self._most_gib else None
        return most_gib is not None and (most_gib == 0 or (job.size_gib or 0) > most_gib)

    def _is_held(self) -> bool:
        return asyncio.get_running_loop().time() < self._hold_until

    def _room(self) -> int:
        """How many jobs may be claimed now."""
        if self._is_held() or not self._ledger.lease.fresh:
            return 0
        ledger = self._ledger
        most = self._settings.limits.max_exports - ledger.in_progress
        return min(self._at_once() - len(ledger.sending), most)

    def _at_once(self) -> int:
        """How many jobs may be claimed and unanswered: one for each sender and two ahead, so that none waits
        for the disk; but never more than can be sent within about a second.
        """
        most = 3 * self._settings.limits.concurrency
        rate = self._cloud.requests_per_second
        return min(most, math.ceil(rate)) if rate else most

    async def _idle_s(self) -> float | None:
        """Seconds until there may be something to claim without any change before; None = all is done."""
        if self._is_held():
            return self._hold_until - asyncio.get_running_loop().time()
        ledger = self._ledger
        under_way = len(ledger.sending) + len(ledger.unsettled)
        if self._settings.wait:
            under_way += len(ledger.exporting)
        if under_way and ledger.lease.fresh and (self._ready or self._room() <= 0):
            return math.inf
        most_gib = self._most_gib(self._now()) if self._most_gib else None
        due_at = await self._state.next_due_s(ledger.lease, most_gib=most_gib) if most_gib != 0 else None
        if due_at is None:
            return None if not under_way else math.inf
        if math.isinf(due_at):
            ledger.held.set()
            return math.inf
        if not ledger.lease.fresh:
            return LEASE_LOOK_S  # this process or its disk stood still: the renewal is on its way
        if self._room() <= 0:
            return math.inf
        return max(0.01, due_at - self._now())

    async def _send(self, job: Job) -> None:
        """Send one job and write down the outcome; cancelled before the send, it goes back to the queue."""
        task = asyncio.current_task()
        assert task is not None
        self._unsent[task] = job

        def fence() -> None:
            # Called with the connection in hand, right before the first byte: who took over is safe from us.
            self._ledger.lease.check_owned()
            if self._ledger.stopping.is_set() or not self._ledger.lease.fresh or self._is_too_late(job):
                raise NotSentError
            self._unsent.pop(task, None)

        request = decide.request_for(
            job,
            self._settings.image,
            self._settings.in_use,
            servers_down=job.job_id in self._ledger.on_stopped_servers,
        )
        try:
            if self._prior.is_wanted(job) and await self._is_prevented(job):
                return
            if job.job_id in self._ledger.on_stopped_servers:
                if (cleared := await self._witness.cleared(job, request)) is None:
                    return
                request = cleared
            accepted = await self._cloud.upload_volume_to_image(request, fence=fence)
        except CloudError as error:
            await self._failed(job, request, error)
        except NotSentError:
            self._ledger.put_back(job, None, after_s=0.0, counted=False)
        except asyncio.CancelledError:
            # Else the request is on its way: the row stays `submitting`, and is settled next time.
            if task in self._unsent:
                self._ledger.put_back(job, None, after_s=0.0, counted=False)
            raise
        else:
            if self._in_vain and self._told_of_trouble:
                log.log(NOTICE, "the cloud takes requests again")
            self._in_vain, self._told_of_trouble = 0, False
            self._refusals.taken()
            self._taken += 1
            self._taken_before.pop(job.job_id, None)
            if accepted.image_id in self._ledger.exporting:  # the answer to another row's request
                log.warning(
                    "volume %s: answered with the image of another volume; looking for its own", job.volume_id
                )
                self._ledger.doubt(job)
            else:
                self._ledger.accepted(job, accepted)
        finally:
            self._unsent.pop(task, None)

    async def _is_prevented(self, job: Job) -> bool:
        """Whether an image that the volume may have already forbids the request."""
        ledger = self._ledger

        def fence() -> None:
            ledger.lease.check_owned()
            if ledger.stopping.is_set() or not ledger.lease.fresh:
                raise NotSentError

        try:
            prevented = await self._prior.clear(job, fence=fence)
        except CloudError as error:
            log.warning("volume %s: cannot look for its images (%s)", job.volume_id, error)
            ledger.doubt(job, alone=True, ending=decide.ending_of(error))
            return True
        match prevented:
            case decide.Adopt(image):
                log.info("volume %s: its image %s is there already", job.volume_id, image.image_id)
                ledger.accepted(job, Accepted(image_id=image.image_id, size_gib=None, request_id=None))
            case decide.Ambiguous(ending):
                ledger.ended(job, JobState.AMBIGUOUS, ending)
            case decide.Fail(ending):
                ledger.ended(job, JobState.FAILED, ending)
            case decide.Again(ending):
                ledger.again(job, ending)
        return prevented is not None

    async def _failed(self, job: Job, request: ExportRequest, error: CloudError) -> None:
        ledger = self._ledger
        match error:
            case OutcomeUnknownError():
                log.warning("volume %s: %s; checking what became of the request", job.volume_id, error)
                ledger.doubt(job, alone=self._is_alone(job))
            case ThrottledError():  # the client has lowered the rate already
                ledger.put_back(job, decide.ending_of(error), after_s=0.0, counted=False)
            case TransientError():
                self._trouble(job, error)
            case VolumeStateError():
                await self._look(job, request, error)
            case ForbiddenError():
                self._forbidden(job, error)
            case SignInError() if (pause_s := self._refusals.signed_out(error)) is not None:
                ledger.put_back(job, decide.ending_of(error), after_s=0.0, counted=False)
                self._hold_for(pause_s)
                log.warning("the sign-in is refused (%s); next try in %.0f s", error, pause_s)
            case FatalError():
                ledger.put_back(job, decide.ending_of(error), after_s=0.0, counted=False)
                ledger.stop(error)
            case RefusedError():
                ledger.ended(job, JobState.FAILED, decide.ending_of(error))
            case _:
                raise error

    def _forbidden(self, job: Job, error: ForbiddenError) -> None:
        ending = decide.ending_of(error)
        match self._refusals.forbidden(job, under_way=self._senders - 1):
            case Forbidden.THIS_ROW:
                self._ledger.ended(job, JobState.FAILED, ending)
            case Forbidden.LATER:
                self._ledger.put_back(job, ending, after_s=self._refusals.wait_s(job), counted=False)
                if self._refusals.is_pressing:
                    self._hold_for(PAUSE_S)
            case Forbidden.ALL:
                self._ledger.put_back(job, ending, after_s=self._refusals.wait_s(job), counted=False)
                self._ledger.stop(error)

    def _hold_for(self, seconds: float) -> None:
        self._hold_until = max(self._hold_until, asyncio.get_running_loop().time() + seconds)

    async def _look(self, job: Job, request: ExportRequest, error: VolumeStateError) -> None:
        """The volume's status forbade the export: see what it is, for it may be our own doing."""
        ledger = self._ledger
        try:
            volume = await self._cloud.volume(job.volume_id)
        except CloudError as unseen:
            log.warning("volume %s: cannot look at it (%s)", job.volume_id, unseen)
            ledger.doubt(job, refused=True)
            return
        forced = bool(request.options.force)
        in_use = job.options.in_use or self._settings.in_use
        match decide.refused_for_status(error, volume, in_use=in_use, forced=forced):
            case decide.Doubt():
                ledger.doubt(job, refused=True)
            case decide.Again(ending):
                ledger.again(job, ending)
            case decide.Hold():
                ledger.held_back(job)
            case decide.Fail(ending):
                if ending.code == decide.FORCE_IGNORED and in_use is InUse.STOP:
                    ledger.force_ignored = ending
                ledger.ended(job, JobState.FAILED, ending)
            case decide.Skip(ending):
                ledger.ended(job, JobState.SKIPPED, ending)

    def _is_alone(self, job: Job) -> bool:
        """Whether the cloud took others since it last took nothing of this job."""
        alone = self._taken > self._taken_before.get(job.job_id, self._taken)
        self._taken_before[job.job_id] = self._taken
        return alone

    def _trouble(self, job: Job, error: TransientError) -> None:
        """Nothing happened, says the cloud. Without a connection that is sure; else it is looked at first."""
        loop_now = asyncio.get_running_loop().time()
        self._in_vain_since = self._in_vain_since if self._in_vain else loop_now
        if not self._is_held():  # else it was under way when the last one came to nothing
            self._in_vain += 1
        ending = decide.ending_of(error)
        delay_s = max(UNREACHABLE.delay_s(self._in_vain), error.retry_after_s or 0.0)
        unreachable = isinstance(error, UnreachableError)
        if (unreachable or self._in_vain >= TROUBLE_AFTER) and not self._is_held():
            self._hold_until = loop_now + delay_s
            self._told_of_trouble = True
            log.warning("the cloud takes no requests (%s); next try in %.0f s", error, delay_s)
        if unreachable:
            self._ledger.put_back(job, ending, after_s=delay_s, counted=False)
        else:
            self._ledger.doubt(job, alone=self._is_alone(job), ending=ending)
        if self._in_vain > TROUBLE_AFTER and loop_now - self._in_vain_since > GIVE_UP_AFTER_S:
            minutes = (loop_now - self._in_vain_since) / 60
            self._ledger.stop(
                RunStoppedError(
                    f"the cloud has taken no request for {minutes:.0f} minutes: {error}",
                    hint="run the same command again when it answers: nothing is lost",
                )
            )
