"""Every change of one target's jobs: applied to the store, mirrored in memory, passed to the observer."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from shlex import quote

import msgspec
from msgspec.structs import replace

from batchexport.changes import (
    Claimed,
    Ended,
    Held,
    ImagesSeen,
    JobChange,
    Planned,
    Rejected,
    Requeued,
    Snoozed,
    Started,
)
from batchexport.config import Settings
from batchexport.engine.chosen_images import ChosenImages
from batchexport.engine.decide import deadline_s
from batchexport.errors import BatchExportError, RunStoppedError
from batchexport.model import Accepted, Ending, Image, Job, JobState
from batchexport.retry import BETWEEN_ATTEMPTS
from batchexport.store import StoreRef, Work

log = logging.getLogger(__name__)

#: Told of each change of a job, once it is queued to be written.
OnChange = Callable[[JobChange], None]


def log_fields(action: str, job: Job, **more: object) -> dict[str, object]:
    """The data of a log record about a job, as `extra`."""
    return {"action": action, "job_id": job.job_id, "volume_id": job.volume_id, **more}


class JobInDoubt(msgspec.Struct):
    """A job whose last request may or may not have been carried out."""

    job: Job
    since: float  #: loop time at which the request ended, or the store was opened after a crash
    was_rejected: bool = False  #: this request was rejected; an earlier one is in doubt
    counts_as_attempt: bool = False  #: the cloud accepted others meanwhile: even if it was lost
    ending: Ending | None = None  #: how the attempt ends if no request arrived
    clear_since: float | None = None  #: loop time since which the volume is free and no image was found
    seen_uploading: bool = False  #: the volume was uploading in some poll since the request


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that is exported in place of a job's own."""

    volume_id: str
    note: str  #: what to say of the image
    copy_name: str | None = None  #: what the ids that are asked for its image are made of; None = none is


class Signal:
    """An event with any number of listeners, each of which clears its own."""

    def __init__(self) -> None:
        self._listeners: list[asyncio.Event] = []

    def listen(self) -> asyncio.Event:
        """An event that is set whenever the signal is."""
        self._listeners.append(asyncio.Event())
        return self._listeners[-1]

    def set(self) -> None:
        """Wake every listener."""
        for listener in self._listeners:
            listener.set()


class Breaker:
    """Counts failed jobs of all targets, and stops the run at a limit."""

    def __init__(self, limit: int | None, state_path: StoreRef | None = None) -> None:
        self._limit = limit
        self._state_file = "STATE" if state_path is None else quote(str(state_path))
        self._failed = 0

    def trip(self) -> RunStoppedError | None:
        """Count one failure; the error that ends the run, or None while it may go on."""
        self._failed += 1
        if self._limit is None or self._failed < self._limit:
            return None
        return RunStoppedError(
            f"stopped after {self._failed} failed rows, the limit of --max-failures",
            hint=f"see `batchexport report {self._state_file} --only failed`;"
            f" `batchexport retry {self._state_file}` tries them again",
        )


def _wants_none(job: Job) -> bool:
    return False


class Ledger:
    """What one target is doing now, and the only place that changes it."""

    def __init__(
        self,
        work: Work,
        settings: Settings,
        breaker: Breaker,
        *,
        now: Callable[[], float] = time.time,
        on_change: OnChange | None = None,
    ) -> None:
        self.exporting: dict[str, Job] = {}  #: by image id
        self.in_doubt: dict[int, JobInDoubt] = {}  #: by job id
        self.sending: set[int] = set()  #: job ids that were claimed and have no response yet
        self.resources_held: set[int] = set()  #: job ids: everything that they need is held
        self.with_resources: set[int] = (
            set()
        )  #: job ids: sent, or to be sent, only while what they need is held
        #: By job id: what it needs and was free while its volume was exported.
        self.disturbed: dict[int, str] = {}
        #: By job id: those of `with_resources` whose image is complete, until what they need is polled again.
        self.to_confirm: dict[int, tuple[Job, Ending]] = {}
        self.confirmable = asyncio.Event()  #: there are jobs to confirm
        #: By job id: those whose image is complete and gets its labels before they succeed.
        self.to_label: dict[int, tuple[Job, Ending]] = {}
        self.labelable = asyncio.Event()  #: there are jobs to label
        self.wants_labels: Callable[[Job], bool] = _wants_none
        self.force_ignored: Ending | None = None  #: why stopping servers is of no use here
        self.held = Signal()  #: there may be jobs that wait for resources
        self.subjects: dict[int, Subject] = {}  #: by job id: what is exported in place of its own volume
        self.chosen_images = ChosenImages()
        self.polling_unavailable = (
            False  #: polling failed for good: running exports can no longer be observed
        )
        self.stopping = asyncio.Event()  #: nothing more is to be started
        self.stopped_by: BatchExportError | None = None
        self._image_statuses: dict[str, str] = {}  # as last kept, by image id
        self.work = work
        self._settings = settings
        self._breaker = breaker
        self._now = now
        self._on_change = on_change
        self._change: asyncio.Future[None] | None = None

    @property
    def in_progress(self) -> int:
        """How many jobs the cloud is exporting, or may be. Where only labels are missing it has finished."""
        return len(self.exporting) + len(self.in_doubt) + len(self.sending) - len(self.to_label)

    def stop(self, error: BatchExportError | None = None) -> None:
        """Start nothing more; with an error, the target ends with it once every request has its response."""
        self.stopped_by = self.stopped_by or error
        self.stopping.set()
        self.wake()

    def now(self) -> float:
        """Seconds since the epoch by this machine's clock."""
        return self._now()

    def next_change(self) -> asyncio.Future[None]:
        """Done at the next change. Get it before you look, to miss none; wait for it with `asyncio.wait`,
        which does not cancel it for the others.
        """
        if self._change is None or self._change.done():
            self._change = asyncio.get_running_loop().create_future()
        return self._change

    def resumed(self, exporting: list[Job], unsettled: list[Job]) -> None:
        """Take over what an earlier process left in progress."""
        since = asyncio.get_running_loop().time()
        self.exporting = {job.image_id: job for job in exporting if job.image_id is not None}
        self.in_doubt = {job.job_id: JobInDoubt(job, since) for job in unsettled}

    def claimed(self, jobs: list[Job]) -> None:
        """The intent to export these is on disk."""
        for job in jobs:
            self.sending.add(job.job_id)
            self._announce(Claimed(job=job))

    def accept(self, job: Job, accepted: Accepted) -> None:
        """The cloud accepted the job, or was found to have accepted it."""
        at = self._now()
        size = job.size_gib if accepted.size_gib is None else accepted.size_gib
        deadline_at = at + deadline_s(size, job.options.over(self._settings.image).timeout_s)
        started = Started.by(job, accepted, at_s=at, deadline_at=deadline_at)
        self.work.apply(started)
        self._forget(job)
        self.exporting[accepted.image_id] = started.job
        self._announce(started)

    def finish(self, job: Job, state: JobState, ending: Ending) -> None:
        """The job has ended; one that wants labels succeeds by `labelled`, one of `with_resources` by
        `confirm`.
        """
        if self._is_over(job):
            return
        if state is JobState.SUCCEEDED and self.wants_labels(job):
            if job.job_id not in self.to_label and job.job_id not in self.to_confirm:
                self.to_label[job.job_id] = job, ending
                self.labelable.set()
                self.wake()  # there is room for another export
        else:
            self._finish(job, state, ending)

    def labelled(self, job_id: int, ending: Ending) -> None:
        """A job of `to_label` has its labels, or never will; it ends like this."""
        job, _ = self.to_label.pop(job_id)
        self._finish(job, JobState.SUCCEEDED, ending)

    def _finish(self, job: Job, state: JobState, ending: Ending) -> None:
        if state is JobState.SUCCEEDED and job.job_id in self.with_resources:
            self.to_confirm.setdefault(job.job_id, (job, ending))
            self.confirmable.set()
        else:
            self._end(job, state, ending)

    def confirm(self, job_id: int, ending: Ending) -> None:
        """A job of `to_confirm` succeeds, with this ending."""
        job, _ = self.to_confirm.pop(job_id)
        self._end(job, JobState.SUCCEEDED, ending)

    def _end(self, job: Job, state: JobState, ending: Ending) -> None:
        subject = self.subjects.pop(job.job_id, None)
        if subject is not None and state is JobState.SUCCEEDED:
            ending = replace(ending, reason=f"{ending.reason}; {subject.note}")
        ended = Ended(job=job, after=state, ending=ending, at_s=self._now())
        self.work.apply(ended)
        self._forget(job)
        for memory in (self.resources_held, self.with_resources):
            memory.discard(job.job_id)
        self.disturbed.pop(job.job_id, None)
        self._announce(ended)
        self._count(state)

    def reject(self, job: Job, state: JobState, ending: Ending) -> None:
        """A job that is new, or held, ends without an attempt: none could succeed."""
        rejected = Rejected(job=job, after=state, ending=ending, at_s=self._now())
        self.work.apply(rejected)
        self.wake()
        self._announce(rejected)
        self._count(state)

    def hold_unsent(self, job: Job) -> None:
        """The job waits for resources, as if it had not been claimed."""
        self.snooze(job, None, after_s=math.inf)
        self.held.set()

    def hold(self, job: Job, needs: Sequence[Planned]) -> None:
        """A pending job waits until these resources, or others that are found later, are held."""
        self.work.apply(Held(job=job, needs=needs))
        self.held.set()

    def images_seen(self, images: Mapping[str, Image | None]) -> None:
        """Images were read by their ids; None = there is none. A status that changed is kept for people."""
        found = {image_id: "gone" if image is None else image.status for image_id, image in images.items()}
        changed = {key: status for key, status in found.items() if self._image_statuses.get(key) != status}
        if changed:
            self._image_statuses.update(changed)
            self.work.apply(ImagesSeen(changed))

    def subject_of(self, job: Job) -> str:
        """The id of the volume that is exported for the job: its own, or a copy of it."""
        subject = self.subjects.get(job.job_id)
        return job.volume_id if subject is None else subject.volume_id

    def let_start(self, job_ids: Iterable[int], *, confirm: bool = True) -> None:
        """These jobs may start: everything that they need is held.

        `confirm`: they succeed by `confirm`, after a last look at what they needed.
        """
        starting = set(job_ids)
        self.resources_held |= starting
        if confirm:
            self.with_resources |= starting
        for job_id in starting:
            self.disturbed.pop(job_id, None)
        self.wake()

    def note_adoption(self, job: Job) -> None:
        """An image of an earlier attempt is adopted. If the job had ended before `retry`, nothing held what
        it needs while that image was written.
        """
        if job.attempts_before and job.job_id in self.with_resources:
            self.disturbed.setdefault(job.job_id, "of its volume")

    def detach(self, job: Job) -> None:
        """The job needs no resources any more."""
        for memory in (self.resources_held, self.with_resources):
            memory.discard(job.job_id)

    def retry_or_fail(self, job: Job, ending: Ending) -> None:
        """The attempt failed: another one later, or `failed` once all retries are used."""
        made = job.attempt - job.attempts_before
        if made > self._settings.limits.retries:
            note = f"{ending.reason} (attempt {made} of {made})" if made > 1 else ending.reason
            self.finish(job, JobState.FAILED, replace(ending, reason=note))
        else:
            self._requeue(job, ending, after_s=BETWEEN_ATTEMPTS.delay_s(made), counted=True)

    def snooze(self, job: Job, ending: Ending | None, *, after_s: float, sent: bool = False) -> None:
        """Back to the queue for `after_s` seconds; the attempt does not count.

        `sent`: its request may have reached the cloud all the same.
        """
        self._requeue(job, ending, after_s=after_s, counted=False, sent=sent)

    def _requeue(
        self, job: Job, ending: Ending | None, *, after_s: float, counted: bool, sent: bool = False
    ) -> None:
        if self._is_over(job):
            return
        at = self._now()
        # Jobs with resources start before those that never waited.
        waits = after_s > 0 or job.job_id in self.resources_held
        next_at = at + after_s if waits else 0.0
        change: JobChange
        if counted or ending is not None:
            change = Requeued(job=job, ending=ending, at_s=at, next_at=next_at, counted=counted, sent=sent)
        else:
            change = Snoozed(job=job, next_at=next_at, sent=sent)
        self.work.apply(change)
        self._forget(job)
        self._announce(change)

    def mark_in_doubt(
        self,
        job: Job,
        *,
        was_rejected: bool = False,
        counts_as_attempt: bool = False,
        ending: Ending | None = None,
    ) -> None:
        """The request may have been carried out: nothing more is sent for this job until that is settled."""
        self.sending.discard(job.job_id)
        since = asyncio.get_running_loop().time()
        self.in_doubt[job.job_id] = JobInDoubt(
            job, since, was_rejected=was_rejected, counts_as_attempt=counts_as_attempt, ending=ending
        )
        self.wake()

    def _is_over(self, job: Job) -> bool:
        """Whether an export ended while its caller waited for a response."""
        if job.image_id is None:
            return False
        current = self.exporting.get(job.image_id)
        return current is None or current.job_id != job.job_id

    def _count(self, state: JobState) -> None:
        if state is JobState.FAILED and (error := self._breaker.trip()):
            self.stop(error)

    def wake(self) -> None:
        """Have whoever waits for a change look again."""
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def _forget(self, job: Job) -> None:
        self.sending.discard(job.job_id)
        self.in_doubt.pop(job.job_id, None)
        self.to_confirm.pop(job.job_id, None)
        self.to_label.pop(job.job_id, None)
        if job.image_id is not None:
            self.exporting.pop(job.image_id, None)
        self.wake()

    def _announce(self, change: JobChange) -> None:
        if log.isEnabledFor(logging.INFO):
            job, ending = change.job, change.ending
            reason = f": {ending.reason}" if ending else ""
            extra = log_fields(f"job_{change.after}", job)
            log.info("volume %s: %s -> %s%s", job.volume_id, change.before, change.after, reason, extra=extra)
        if self._on_change is not None:
            self._on_change(change)
