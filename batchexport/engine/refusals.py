"""Exports that are refused for want of rights or of a sign-in: is it this one, this moment, or all of them?

Policies and filters decide by volume and by image name, and one node of a service may not know a good token.
So nothing stops for one answer: other rows are witnesses, and time is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import Enum, auto

from batchexport.engine.reads import is_signed_out
from batchexport.errors import SignInError
from batchexport.model import Job
from batchexport.retry import Backoff

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
