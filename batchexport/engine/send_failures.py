"""Exports that the cloud did not accept: retried, checked or failed; and when to pause or stop.

A 403, a quota or a refused token does not stop the run by itself: policies decide by volume and by image
name, quotas by size, and one node may not know a good token. Other rows are witnesses, and time is.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from enum import Enum, auto

from batchexport.config import InUse, Settings
from batchexport.engine import decide
from batchexport.engine.ledger import Ledger, log_fields
from batchexport.engine.polling import is_signed_out
from batchexport.engine.ports import Cloud
from batchexport.errors import (
    AuthenticationError,
    CloudError,
    FatalError,
    ForbiddenError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaError,
    RefusedError,
    RunStoppedError,
    ThrottledError,
    TransientError,
    UnreachableError,
    VolumeStateError,
)
from batchexport.log_level import NOTICE
from batchexport.model import ExportRequest, Job, JobState
from batchexport.retry import BETWEEN_ATTEMPTS, UNREACHABLE, Backoff
from batchexport.store import Forbiddings

log = logging.getLogger(__name__)

#: This many forbidden rows in a row, with no other in progress, stop the run where none was accepted …
FORBIDDEN_MAX = 3
#: … and this many where some were: the account has the permission, but not for these.
FORBIDDEN_AMONG_OTHERS_MAX = 10
#: How long such a row waits for others to be accepted or refused, twice as long each time; and how long new
#: ones wait for those in progress.
WITNESS_S, PAUSE_S = 10.0, 1.0
#: How often a row is forbidden, with no other accepted, before it is certain that there are no others.
TRIES, TRIES_AMONG_OTHERS = 1, 3
#: Refused sign-ins in a row, and over how long, that stop the run.
SIGN_INS_MAX, SIGN_INS_S = 4, 60.0
#: Between requests after a refused sign-in; where the identity service refuses, tries lock an account.
REFUSED_AUTH = Backoff(first_s=5.0, cap_s=60.0)
SIGNED_OUT = Backoff(first_s=30.0, cap_s=120.0)


class Forbidden(Enum):
    """What a 403, or a quota, means that refuses the export of one row."""

    THIS_ROW = auto()  #: others are accepted: it fails
    LATER = auto()  #: not known yet
    ALL = auto()  #: nothing can be exported: the run stops


class Refusals:
    """Remembers which rows were refused since others were accepted. Times are loop times."""

    def __init__(self) -> None:
        self._known = frozenset[int]()  # job ids refused to earlier processes: no new witnesses
        self._accepted = 0  # requests
        self._accepted_before: dict[int, int] = {}  # job id -> how many when it was first forbidden
        self._tries = Counter[int]()  # by job id: how often it was forbidden
        self._in_a_row: set[int] = set()  # job ids forbidden since the last acceptance
        self._sign_ins = 0  # refused in a row
        self._sign_ins_since = 0.0

    def resume(self, known: Forbiddings) -> None:
        """Take over what earlier processes learned."""
        self._known = known.job_ids
        self._accepted += known.others_were_accepted

    def accepted(self) -> None:
        """The cloud accepted a request."""
        self._accepted += 1
        self._in_a_row.clear()
        self._sign_ins = 0

    def forbidden(self, job: Job, *, under_way: int) -> Forbidden:
        """What a 403 or a quota for this row means, while `under_way` other requests have no response yet."""
        self._sign_ins = 0
        if self._accepted_before.setdefault(job.job_id, self._accepted) < self._accepted:
            return Forbidden.THIS_ROW
        if job.job_id not in self._known:
            self._in_a_row.add(job.job_id)
        self._tries[job.job_id] += 1
        has_waited = self._tries[job.job_id] > (TRIES_AMONG_OTHERS if self._accepted else TRIES)
        if has_waited and self._accepted:
            return Forbidden.THIS_ROW
        if under_way:
            return Forbidden.LATER
        if len(self._in_a_row) >= (FORBIDDEN_AMONG_OTHERS_MAX if self._accepted else FORBIDDEN_MAX):
            return Forbidden.ALL
        return Forbidden.ALL if has_waited else Forbidden.LATER  # no others will show

    def wait_s(self, job: Job) -> float:
        """Seconds for which the row waits for others to be accepted or refused."""
        return WITNESS_S * 2.0 ** (self._tries[job.job_id] - 1)

    @property
    def is_pressing(self) -> bool:
        """Whether so many rows in a row were forbidden that new ones should wait for those in progress."""
        return len(self._in_a_row) >= FORBIDDEN_MAX

    def signed_out(self, error: AuthenticationError) -> float | None:
        """Seconds to send nothing; None = refused so often that the run stops."""
        loop_now = asyncio.get_running_loop().time()
        self._sign_ins_since = self._sign_ins_since if self._sign_ins else loop_now
        self._sign_ins += 1
        if self._sign_ins >= SIGN_INS_MAX and loop_now - self._sign_ins_since >= SIGN_INS_S:
            return None
        return (SIGNED_OUT if is_signed_out(error) else REFUSED_AUTH).delay_s(self._sign_ins)


#: This many failed requests in a row are the cloud's fault, not the rows': the target waits.
UNAVAILABLE_AFTER = 3
#: A cloud that accepts no request for this long is given up for this run.
GIVE_UP_AFTER_S = 3600.0


class SendFailures:
    """Decides what follows from requests that were not accepted, and remembers how the cloud is doing."""

    def __init__(self, cloud: Cloud, ledger: Ledger, settings: Settings) -> None:
        self._cloud = cloud
        self._ledger = ledger
        self._settings = settings
        self._refusals = Refusals()
        self._accepted = 0  # requests
        self._accepted_before: dict[int, int] = {}  # job id -> how many when this job last was not
        self._force_refused: set[int] = set()  # job ids: refused once although force was set
        self._consecutive_failures = 0
        self._is_reported = False  # that the cloud is unavailable
        self._failing_since = 0.0
        self._hold_until = 0.0  # loop time before which nothing is claimed

    def resume(self, known: Forbiddings) -> None:
        """Take over what earlier processes learned of rows that are forbidden."""
        self._refusals.resume(known)

    @property
    def hold_s(self) -> float:
        """Seconds for which nothing is to be claimed or sent; 0 = none."""
        return max(0.0, self._hold_until - asyncio.get_running_loop().time())

    def accepted(self, job: Job) -> None:
        """The cloud accepted the request of this job."""
        if self._consecutive_failures and self._is_reported:
            log.log(NOTICE, "the cloud accepts requests again", extra={"action": "cloud_available"})
        self._consecutive_failures, self._is_reported = 0, False
        self._refusals.accepted()
        self._accepted += 1
        self._accepted_before.pop(job.job_id, None)

    async def failed(self, job: Job, request: ExportRequest, error: CloudError, *, under_way: int) -> None:
        """The request of this job failed, while `under_way` others had no response yet."""
        ledger = self._ledger
        match error:
            case OutcomeUnknownError():
                extra = log_fields("request_in_doubt", job)
                log.warning(
                    "volume %s: no response (%s); outcome in doubt, checking",
                    job.volume_id,
                    error,
                    extra=extra,
                )
                ledger.mark_in_doubt(job, counts_as_attempt=self._counts_as_attempt(job))
            case ThrottledError():  # the client has lowered the rate already
                ledger.snooze(job, decide.ending_of(error), after_s=0.0)
            case TransientError():
                self._unavailable(job, error)
            case VolumeStateError():
                await self._check_volume(job, request, error)
            case NotFoundError():  # a replica may not know it yet: only time and a list prove it
                ledger.mark_in_doubt(job, was_rejected=True, ending=decide.ending_of(error))
            case ForbiddenError() | QuotaError():
                self._forbidden(job, error, under_way)
            case AuthenticationError() if (pause_s := self._refusals.signed_out(error)) is not None:
                ledger.snooze(job, decide.ending_of(error), after_s=0.0)
                self._hold_for(pause_s)
                log.warning(
                    "sign-in refused (%s); next try in %.0f s",
                    error,
                    pause_s,
                    extra={"action": "auth_refused"},
                )
            case FatalError():
                ledger.snooze(job, decide.ending_of(error), after_s=0.0)
                ledger.stop(error)
            case RefusedError() if ledger.chosen_images.spent_by(str(error)) is not None:
                # An earlier request of ours has, or had, the image of this id: look for it first.
                ledger.mark_in_doubt(job, was_rejected=True, ending=decide.ending_of(error))
            case RefusedError():
                ledger.finish(job, JobState.FAILED, decide.ending_of(error))
            case _:
                raise error

    def _forbidden(self, job: Job, error: FatalError, under_way: int) -> None:
        ending = decide.ending_of(error)
        match self._refusals.forbidden(job, under_way=under_way):
            case Forbidden.THIS_ROW:
                self._ledger.finish(job, JobState.FAILED, ending)
            case Forbidden.LATER:
                self._ledger.snooze(job, ending, after_s=self._refusals.wait_s(job))
                if self._refusals.is_pressing:
                    self._hold_for(PAUSE_S)
            case Forbidden.ALL:
                self._ledger.snooze(job, ending, after_s=self._refusals.wait_s(job))
                self._ledger.stop(error)

    def _hold_for(self, seconds: float) -> None:
        self._hold_until = max(self._hold_until, asyncio.get_running_loop().time() + seconds)

    async def _check_volume(self, job: Job, request: ExportRequest, error: VolumeStateError) -> None:
        """The volume's status forbids the export: read it, for an export of ours may be the cause."""
        ledger = self._ledger
        try:
            volume = await self._cloud.block_storage.get_volume(request.volume_id)
        except CloudError as unseen:
            extra = log_fields("volume_unreadable", job)
            log.warning("volume %s: cannot read it (%s)", job.volume_id, unseen, extra=extra)
            ledger.mark_in_doubt(job, was_rejected=True, ending=decide.ending_of(error))
            return
        forced = bool(request.options.force)
        in_use = job.options.in_use or self._settings.in_use
        if request.volume_id != job.volume_id:
            in_use = InUse.FAIL  # a copy that somebody attached
        match decide.refused_for_status(error, volume, in_use=in_use, forced=forced):
            case decide.InDoubt():
                ledger.mark_in_doubt(job, was_rejected=True, ending=decide.ending_of(error))
            case decide.Retry(ending):
                ledger.retry_or_fail(job, ending)
            case decide.Hold():
                ledger.hold_unsent(job)
            case decide.Fail(ending) if ending.code == decide.FORCE_IGNORED and self._is_first_refusal(job):
                # Perhaps because of somebody's export that ended before the volume was read.
                after_s = BETWEEN_ATTEMPTS.delay_s(1)
                ledger.snooze(job, ending, after_s=after_s)
            case decide.Fail(ending):
                if ending.code == decide.FORCE_IGNORED and in_use is InUse.STOP:
                    ledger.force_ignored = ending
                ledger.finish(job, JobState.FAILED, ending)
            case decide.Skip(ending):
                ledger.finish(job, JobState.SKIPPED, ending)

    def _is_first_refusal(self, job: Job) -> bool:
        is_first = job.job_id not in self._force_refused
        self._force_refused.add(job.job_id)
        return is_first

    def _counts_as_attempt(self, job: Job) -> bool:
        """Whether the cloud accepted others since this job's last failure: then this one was an attempt."""
        others_accepted = self._accepted > self._accepted_before.get(job.job_id, self._accepted)
        self._accepted_before[job.job_id] = self._accepted
        return others_accepted

    def _unavailable(self, job: Job, error: TransientError) -> None:
        """The cloud says nothing happened. Without a connection that is certain; else it is checked."""
        loop_now = asyncio.get_running_loop().time()
        self._failing_since = self._failing_since if self._consecutive_failures else loop_now
        if not self.hold_s:  # else it was sent before the last one failed
            self._consecutive_failures += 1
        ending = decide.ending_of(error)
        delay_s = max(UNREACHABLE.delay_s(self._consecutive_failures), error.retry_after_s or 0.0)
        unreachable = isinstance(error, UnreachableError)
        if (unreachable or self._consecutive_failures >= UNAVAILABLE_AFTER) and not self.hold_s:
            self._hold_until = loop_now + delay_s
            self._is_reported = True
            extra = {"action": "cloud_unavailable", "failures": self._consecutive_failures}
            log.warning("the cloud accepts no requests (%s); next try in %.0f s", error, delay_s, extra=extra)
        if unreachable:
            self._ledger.snooze(job, ending, after_s=delay_s)
        else:
            self._ledger.mark_in_doubt(job, counts_as_attempt=self._counts_as_attempt(job), ending=ending)
        if (
            self._consecutive_failures > UNAVAILABLE_AFTER
            and loop_now - self._failing_since > GIVE_UP_AFTER_S
        ):
            minutes = (loop_now - self._failing_since) / 60
            self._ledger.stop(
                RunStoppedError(
                    f"the cloud has accepted no request for {minutes:.0f} minutes: {error}",
                    hint="run the same command again when it is available: nothing is lost",
                )
            )
