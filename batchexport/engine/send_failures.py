"""Exports that the cloud did not accept: retried, checked or failed; and when to pause or stop.

A 403 or a refused token does not stop the run by itself: policies decide by volume and by image name, and one
node may not know a good token. Other rows are witnesses, and time is.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from enum import Enum, auto

from batchexport.config import InUse, Settings
from batchexport.engine import decide
from batchexport.engine.ledger import Ledger
from batchexport.engine.polling import is_signed_out
from batchexport.engine.ports import Cloud
from batchexport.errors import (
    CloudError,
    FatalError,
    ForbiddenError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    RunStoppedError,
    SignInError,
    ThrottledError,
    TransientError,
    UnreachableError,
    VolumeStateError,
)
from batchexport.log_level import NOTICE
from batchexport.model import ExportRequest, Job, JobState
from batchexport.retry import BETWEEN_ATTEMPTS, UNREACHABLE, Backoff

log = logging.getLogger(__name__)

#: So many rows in a row that are not allowed, and no other one under way, stop the run where none was taken …
FORBIDDEN_MAX = 3
#: … and so many where some were: the account has the right, but not for these.
FORBIDDEN_AMONG_OTHERS_MAX = 10
#: How long such a row waits for others to be taken or refused, twice as long each time; and how long new ones
#: wait for what is under way.
WITNESS_S, PAUSE_S = 10.0, 1.0
#: How often a row is seen forbidden, with no other one taken, before it is plain that there are no others.
SIGHTS, SIGHTS_AMONG_OTHERS = 1, 3
#: Refused sign-ins in a row, and over how long, that stop the run.
SIGN_INS_MAX, SIGN_INS_S = 4, 60.0
#: Between two requests after a refused sign-in; where the identity service refuses, each try is dangerous.
AGAIN = Backoff(first_s=5.0, cap_s=60.0)
SIGNED_OUT = Backoff(first_s=30.0, cap_s=120.0)


class Forbidden(Enum):
    """What a 403 to the export of one row means."""

    THIS_ROW = auto()  #: others are taken: it fails, in the cloud's words
    LATER = auto()  #: not known yet
    ALL = auto()  #: nothing can be exported: the run stops


class Refusals:
    """Remembers which rows were refused since others were taken. Times are those of the loop."""

    def __init__(self) -> None:
        self._taken = 0  # requests that the cloud took
        self._taken_before: dict[int, int] = {}  # job id -> how many when it was first forbidden
        self._sights = Counter[int]()  # by job id: how often it was forbidden
        self._in_a_row: set[int] = set()  # job ids that were forbidden since the last one was taken
        self._sign_ins = 0  # refused in a row
        self._sign_ins_since = 0.0

    def taken(self) -> None:
        """The cloud took a request."""
        self._taken += 1
        self._in_a_row.clear()
        self._sign_ins = 0

    def forbidden(self, job: Job, *, under_way: int) -> Forbidden:
        """What it means that this row is not allowed, while so many other requests are under way."""
        self._sign_ins = 0
        if self._taken_before.setdefault(job.job_id, self._taken) < self._taken:
            return Forbidden.THIS_ROW
        self._in_a_row.add(job.job_id)
        self._sights[job.job_id] += 1
        if under_way:
            return Forbidden.LATER
        waited = self._sights[job.job_id] > (SIGHTS_AMONG_OTHERS if self._taken else SIGHTS)
        if len(self._in_a_row) >= (FORBIDDEN_AMONG_OTHERS_MAX if self._taken else FORBIDDEN_MAX):
            return Forbidden.ALL
        if not waited:
            return Forbidden.LATER
        return Forbidden.THIS_ROW if self._taken else Forbidden.ALL  # there are no others to tell

    def wait_s(self, job: Job) -> float:
        """Seconds for which the row waits for others to be taken, or refused."""
        return WITNESS_S * 2.0 ** (self._sights[job.job_id] - 1)

    @property
    def is_pressing(self) -> bool:
        """Whether so many rows were forbidden in a row that those under way should be heard first."""
        return len(self._in_a_row) >= FORBIDDEN_MAX

    def signed_out(self, error: SignInError) -> float | None:
        """Seconds to send nothing, or None where the sign-in was refused so often that the run stops."""
        loop_now = asyncio.get_running_loop().time()
        self._sign_ins_since = self._sign_ins_since if self._sign_ins else loop_now
        self._sign_ins += 1
        if self._sign_ins >= SIGN_INS_MAX and loop_now - self._sign_ins_since >= SIGN_INS_S:
            return None
        return (SIGNED_OUT if is_signed_out(error) else AGAIN).delay_s(self._sign_ins)


#: So many requests in a row that came to nothing are the cloud's trouble, not the rows': the target waits.
TROUBLE_AFTER = 3
#: A cloud that takes no request for so long is given up for this run.
GIVE_UP_AFTER_S = 3600.0


class SendFailures:
    """Writes down what came of requests that were not taken, and remembers how the cloud does."""

    def __init__(self, cloud: Cloud, ledger: Ledger, settings: Settings) -> None:
        self._cloud = cloud
        self._ledger = ledger
        self._settings = settings
        self._refusals = Refusals()
        self._taken = 0  # requests that the cloud took
        self._taken_before: dict[int, int] = {}  # job id -> how many it had taken when this job was not
        self._force_refused: set[int] = set()  # job ids: refused once although force was set
        self._in_vain = 0  # requests in a row that came to nothing
        self._told_of_trouble = False  # and somebody was told of it
        self._in_vain_since = 0.0
        self._hold_until = 0.0  # loop time before which nothing is claimed

    @property
    def hold_s(self) -> float:
        """Seconds for which nothing is to be claimed or sent; 0 = none."""
        return max(0.0, self._hold_until - asyncio.get_running_loop().time())

    def taken(self, job: Job) -> None:
        """The cloud took the request of this job."""
        if self._in_vain and self._told_of_trouble:
            log.log(NOTICE, "the cloud takes requests again")
        self._in_vain, self._told_of_trouble = 0, False
        self._refusals.taken()
        self._taken += 1
        self._taken_before.pop(job.job_id, None)

    async def met(self, job: Job, request: ExportRequest, error: CloudError, *, under_way: int) -> None:
        """The request of this job met an error, while so many others were under way."""
        ledger = self._ledger
        match error:
            case OutcomeUnknownError():
                log.warning("volume %s: %s; checking what became of the request", job.volume_id, error)
                ledger.mark_in_doubt(job, counts_as_attempt=self._counts_as_attempt(job))
            case ThrottledError():  # the client has lowered the rate already
                ledger.snooze(job, decide.ending_of(error), after_s=0.0)
            case TransientError():
                self._trouble(job, error)
            case VolumeStateError():
                await self._look(job, request, error)
            case NotFoundError():  # a replica may not know it yet: it takes time and a list to be sure
                ledger.mark_in_doubt(job, was_rejected=True, ending=decide.ending_of(error))
            case ForbiddenError():
                self._forbidden(job, error, under_way)
            case SignInError() if (pause_s := self._refusals.signed_out(error)) is not None:
                ledger.snooze(job, decide.ending_of(error), after_s=0.0)
                self._hold_for(pause_s)
                log.warning("the sign-in is refused (%s); next try in %.0f s", error, pause_s)
            case FatalError():
                ledger.snooze(job, decide.ending_of(error), after_s=0.0)
                ledger.stop(error)
            case RefusedError():
                ledger.finish(job, JobState.FAILED, decide.ending_of(error))
            case _:
                raise error

    def _forbidden(self, job: Job, error: ForbiddenError, under_way: int) -> None:
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

    async def _look(self, job: Job, request: ExportRequest, error: VolumeStateError) -> None:
        """The volume's status forbade the export: see what it is, for it may be our own doing."""
        ledger = self._ledger
        try:
            volume = await self._cloud.block_storage.get_volume(job.volume_id)
        except CloudError as unseen:
            log.warning("volume %s: cannot look at it (%s)", job.volume_id, unseen)
            ledger.mark_in_doubt(job, was_rejected=True, ending=decide.ending_of(error))
            return
        forced = bool(request.options.force)
        in_use = job.options.in_use or self._settings.in_use
        match decide.refused_for_status(error, volume, in_use=in_use, forced=forced):
            case decide.InDoubt():
                ledger.mark_in_doubt(job, was_rejected=True, ending=decide.ending_of(error))
            case decide.Retry(ending):
                ledger.retry_or_fail(job, ending)
            case decide.Hold():
                ledger.hold_unsent(job)
            case decide.Fail(ending) if ending.code == decide.FORCE_IGNORED and self._is_first_refusal(job):
                # Perhaps for somebody's export that ended before the volume was looked at.
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
        """Whether the cloud took others since it last took nothing of this job."""
        alone = self._taken > self._taken_before.get(job.job_id, self._taken)
        self._taken_before[job.job_id] = self._taken
        return alone

    def _trouble(self, job: Job, error: TransientError) -> None:
        """Nothing happened, says the cloud. Without a connection that is sure; else it is looked at first."""
        loop_now = asyncio.get_running_loop().time()
        self._in_vain_since = self._in_vain_since if self._in_vain else loop_now
        if not self.hold_s:  # else it was under way when the last one came to nothing
            self._in_vain += 1
        ending = decide.ending_of(error)
        delay_s = max(UNREACHABLE.delay_s(self._in_vain), error.retry_after_s or 0.0)
        unreachable = isinstance(error, UnreachableError)
        if (unreachable or self._in_vain >= TROUBLE_AFTER) and not self.hold_s:
            self._hold_until = loop_now + delay_s
            self._told_of_trouble = True
            log.warning("the cloud takes no requests (%s); next try in %.0f s", error, delay_s)
        if unreachable:
            self._ledger.snooze(job, ending, after_s=delay_s)
        else:
            self._ledger.mark_in_doubt(job, counts_as_attempt=self._counts_as_attempt(job), ending=ending)
        if self._in_vain > TROUBLE_AFTER and loop_now - self._in_vain_since > GIVE_UP_AFTER_S:
            minutes = (loop_now - self._in_vain_since) / 60
            self._ledger.stop(
                RunStoppedError(
                    f"the cloud has taken no request for {minutes:.0f} minutes: {error}",
                    hint="run the same command again when it answers: nothing is lost",
                )
            )
