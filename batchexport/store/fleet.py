"""What a database tells of submitted runs and their workers: frozen records. Times are by its own clock."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from batchexport.identity import CloudIdentity
from batchexport.model import JobState, TargetKey
from batchexport.store.owner import Owner

#: How long a worker's targets are held after it was last heard of, seconds. A take-over is done within 30 s,
#: sign-in included.
WORKER_LEASE_S = 25.0


class Standing(StrEnum):
    """Where a submitted run stands with the workers."""

    RUNNING = "running"  #: whatever may go goes
    PAUSED = "paused"  #: nothing new begins; what is under way is watched to its end
    CANCELLED = "cancelled"  #: as paused, and rows for which nothing is under way are ended
    ENDED = "ended"  #: nothing is left to do


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, as it was last heard of."""

    worker_name: str
    host: str
    pid: int
    version: str  #: of batchexport
    clouds: tuple[str, ...]  #: those that its clouds.yaml has
    slots: int  #: targets that it works on at once
    began_at: float
    seen_s: float  #: seconds since its last sign
    lease_left_s: float  #: seconds until its targets may be taken over; less than 0 = they may be now
    is_draining: bool = False
    note: str | None = None  #: its last trouble, while that lasts


class RunTarget(msgspec.Struct, frozen=True, kw_only=True):
    """One target of a submitted run: who works on it, and what is left."""

    target_id: int
    key: TargetKey
    identity: CloudIdentity | None  #: None = nobody has signed in yet
    owner: Owner | None
    lease_left_s: float  #: of the owner
    jobs: dict[JobState, int]
    resources: int  #: servers that are down, copies and the like: to be released

    @property
    def under_way(self) -> int:
        """Requests in doubt, exports, and what is to be released: cannot be left alone for long."""
        states = (JobState.SUBMITTING, JobState.EXPORTING)
        return sum(self.jobs.get(state, 0) for state in states) + self.resources

    @property
    def to_do(self) -> int:
        """What is left, pending rows included."""
        return self.under_way + self.jobs.get(JobState.PENDING, 0)


class SubmittedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run that workers work on."""

    run_name: str
    plan: str  #: JSON of `config.run_plan`
    standing: Standing
    note: str | None  #: why it is paused, where nobody asked for that
    failed_before: int  #: failed rows when it was submitted, or last continued
    targets: Sequence[RunTarget]

    @property
    def failed(self) -> int:
        """Failed rows since it was submitted, or last continued."""
        failed = sum(target.jobs.get(JobState.FAILED, 0) for target in self.targets)
        return max(0, failed - self.failed_before)

    @property
    def jobs_to_do(self) -> int:
        """Rows that have not ended."""
        states = (JobState.PENDING, JobState.SUBMITTING, JobState.EXPORTING)
        return sum(target.jobs.get(state, 0) for target in self.targets for state in states)

    @property
    def to_do(self) -> int:
        """What is left in all targets."""
        return sum(target.to_do for target in self.targets)
