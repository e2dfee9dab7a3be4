"""The way of a job to the cloud: claimed on disk, sent once, its outcome recorded."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence

from batchexport.config import Settings
from batchexport.engine import decide
from batchexport.engine.controls import Controls
from batchexport.engine.ledger import Ledger, log_fields
from batchexport.engine.operations import NotSentError, perform
from batchexport.engine.ports import Cloud
from batchexport.engine.prior_images import PriorImages
from batchexport.engine.resources.kind import ResourceKind
from batchexport.engine.row_hooks import RowHooks
from batchexport.engine.send_failures import SendFailures
from batchexport.engine.steps.export import Export
from batchexport.errors import CloudError, StateError
from batchexport.model import Accepted, Job, JobState
from batchexport.store import Work

log = logging.getLogger(__name__)

#: How soon to check again whether an expired lease was renewed.
LEASE_LOOK_S = 0.25


class Submitter:
    """Claims runnable jobs ahead of need; a few senders take them to the cloud one after another."""

    def __init__(
        self,
        cloud: Cloud,
        work: Work,
        ledger: Ledger,
        settings: Settings,
        prior: PriorImages,
        kinds: Sequence[ResourceKind],
        hooks: RowHooks,
        controls: Controls,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cloud = cloud
        self._work = work
        self._works = [work]
        self._kinds = kinds
        self._hooks = hooks
        self._ledger = ledger
        self._settings = settings
        self._prior = prior
        self._now = now
        self._controls = controls
        self._ready: deque[Job] = deque()  # claimed, and waiting for a sender
        self._senders = 0
        self._unsent: dict[asyncio.Task[None], Job] = {}  # a sender has them, and has not sent them
        self._failures = SendFailures(cloud, ledger, settings)

    async def run(self) -> None:
        """Return when every job has ended or, once the run is stopping, every request has its response."""
        self._failures.resume(await self._work.forbidden())
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
            self._ledger.snooze(self._ready.popleft(), None, after_s=0.0)

    def _start_senders(self, group: asyncio.TaskGroup) -> None:
        while self._senders < self._settings.limits.concurrency and (job := self._next()):
            self._senders += 1
            group.create_task(self._send_on(job))

    def _next(self) -> Job | None:
        """The next job to send now, if any."""
        if not self._ready or self._ledger.stopping.is_set() or self._failures.hold_s:
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
        max_gib = self._controls.max_gib_at(now_s)
        if max_gib == 0:
            return []
        try:
            self._work.check_in_place()
        except StateError as error:
            self._ledger.stop(error)
            return []
        server_now_s = self._cloud.server_now_s()
        jobs = await self._work.claim(
            room, now_s=now_s, server_now_s=server_now_s, max_gib=max_gib, order=self._controls.order
        )
        within = jobs if (budget := self._controls.budget) is None else budget.fitting(jobs)
        self._ledger.claimed(jobs)
        for job in jobs[len(within) :]:
            self._ledger.snooze(job, None, after_s=0.0)
        return within

    def _is_too_late(self, job: Job) -> bool:
        """Whether the job was small enough when it was claimed, and is no longer: it may have waited."""
        return self._controls.is_too_late(job, self._now())

    def _room(self) -> int:
        """How many jobs may be claimed now."""
        if self._failures.hold_s or not self._ledger.work.fresh:
            return 0
        ledger = self._ledger
        most = self._controls.max_exports - ledger.in_progress
        return min(self._at_once() - len(ledger.sending), most)

    def _at_once(self) -> int:
        """How many jobs may be claimed without a response: one for each sender and two ahead, so that none
        waits for the disk; but never more than can be sent within about a second.
        """
        most = 3 * self._settings.limits.concurrency
        rate = self._cloud.requests_per_second
        return min(most, math.ceil(rate)) if rate else most

    async def _idle_s(self) -> float | None:
        """Seconds until there may be something to claim, if nothing changes before; None = all is done."""
        if self._failures.hold_s:
            return self._failures.hold_s
        ledger = self._ledger
        under_way = len(ledger.sending) + len(ledger.in_doubt)
        if self._settings.wait:
            under_way += len(ledger.exporting)
        if under_way and ledger.work.fresh and (self._ready or self._room() <= 0):
            return math.inf
        max_gib = self._controls.max_gib_at(self._now())
        if self._controls.is_paused:
            is_done = not under_way and await self._work.next_due_s() is None
            return None if is_done else math.inf
        due_at = await self._work.next_due_s(max_gib=max_gib) if max_gib != 0 else None
        if due_at is None:
            return None if not under_way else math.inf
        if math.isinf(due_at):
            ledger.held.set()
            return math.inf
        if not ledger.work.fresh:
            return LEASE_LOOK_S  # this process or its disk stood still: the renewal is on its way
        if self._room() <= 0:
            return math.inf
        return max(0.01, due_at - self._now())

    async def _send(self, job: Job) -> None:
        """Send one job and record the outcome; cancelled before it is sent, it goes back to the queue."""
        task = asyncio.current_task()
        assert task is not None
        self._unsent[task] = job

        def may_send() -> bool:
            if self._ledger.stopping.is_set() or self._is_too_late(job):
                return False
            self._unsent.pop(task, None)
            return True

        request = decide.request_for(
            job,
            self._settings.image,
            self._settings.in_use,
            servers_down=job.job_id in self._ledger.resources_held,
        )
        try:
            if (ending := await self._hooks.before(job)) is not None:
                self._ledger.finish(job, JobState.FAILED, ending)
                return
            if self._prior.is_wanted(job) and await self._is_prevented(job):
                return
            is_held = job.job_id in self._ledger.resources_held
            for kind in self._kinds:
                if kind.is_needed_by(job):
                    if (cleared := await kind.clear(job, request, is_held=is_held)) is None:
                        return
                    request = cleared
            export = Export(
                self._cloud,
                self._ledger,
                self._failures,
                job,
                request,
                may_send=may_send,
                under_way=self._others_sending,
            )
            await perform(export, self._works)
        except CloudError as error:
            await self._failures.failed(job, request, error, under_way=self._others_sending())
        except NotSentError:
            self._ledger.snooze(job, None, after_s=0.0)
        except asyncio.CancelledError:
            # Else the request is on its way: the job stays `submitting`, and is settled next time.
            if task in self._unsent:
                self._ledger.snooze(job, None, after_s=0.0)
            raise
        finally:
            self._unsent.pop(task, None)

    def _others_sending(self) -> int:
        return self._senders - 1

    async def _is_prevented(self, job: Job) -> bool:
        """Whether an image that the volume may have already forbids the request."""
        ledger = self._ledger
        try:
            prevented = await self._prior.clear(job, is_stopping=ledger.stopping.is_set)
        except CloudError as error:
            extra = log_fields("images_unreadable", job)
            log.warning("volume %s: cannot look for its images (%s)", job.volume_id, error, extra=extra)
            ledger.mark_in_doubt(job, counts_as_attempt=True, ending=decide.ending_of(error))
            return True
        match prevented:
            case decide.Adopt(image):
                extra = log_fields("image_adopted", job, image_id=image.image_id)
                log.info("volume %s: its image %s exists already", job.volume_id, image.image_id, extra=extra)
                ledger.note_adoption(job)
                ledger.accept(job, Accepted(image_id=image.image_id, size_gib=None, request_id=None))
            case decide.Ambiguous(ending):
                ledger.finish(job, JobState.AMBIGUOUS, ending)
            case decide.Retry(ending):
                ledger.retry_or_fail(job, ending)
        return prevented is not None
