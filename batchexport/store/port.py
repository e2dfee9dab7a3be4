"""What a back end of the store provides: `Store` and `Work` for the process that works, `Reader` for others.

There are two: state files (`batchexport.store.sqlite`) and a database (`batchexport.store.postgres`).
`tests/store/contract` holds whatever stands behind this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

from batchexport.changes import Change
from batchexport.identity import CloudIdentity
from batchexport.model import ExportOrder, InUse, Job, JobState
from batchexport.store.records import (
    Forbiddings,
    NeverAttempted,
    OpenRow,
    PendingJobs,
    Remaining,
    RunRecord,
    Skipped,
    StoreRef,
    TargetRecord,
)
from batchexport.store.reports import (
    Abandoned,
    AttemptReport,
    Downtime,
    JobReport,
    Overview,
    Processes,
    ReasonCount,
    Removal,
    Span,
)
from batchexport.store.work_parts import ImageRecords, ResourceRecords

#: How long a target is held after it was taken or the lease was renewed.
LEASE_S = 30.0
#: Jobs that `unchecked` tells of at once.
UNCHECKED_PAGE = 1000


class Store(Protocol):
    """A store that is open for work. `take` gives its targets to work on."""

    path: StoreRef
    run: RunRecord
    targets: Sequence[TargetRecord]  #: as they were when it was opened

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def take(self, target_id: int, *, ttl_s: float = LEASE_S, is_work: bool = True) -> Work:
        """The target for this process alone, from now until `ttl_s` after the last renewal.

        `is_work` says whether this is a time at which the rows are worked on, for whoever asks when that was.

        Raises StateInUseError while another process may be at work on it. One that is known to be dead is
        replaced at once, another when its lease has run out.
        """

    async def remaining(self) -> Remaining:
        """What is left to do in all targets."""

    async def agree(self, in_use: InUse) -> None:
        """Somebody agreed to servers being stopped by this run; `in_use` is for rows that say nothing."""


class Work(Protocol):
    """One target, for this process alone. What is awaited is durable when it returns, the rest with `flush`.

    Changes are kept in order. Those that nobody awaits raise LeaseLostError or StateWriteError only once it
    is known; a change that is not allowed is left out, and raised as StateError by `flush` and `claim`.
    """

    target_id: int

    @property
    def path(self) -> StoreRef:
        """Where the rows are kept."""

    @property
    def run(self) -> RunRecord:
        """The run that the state file belongs to."""

    @property
    def images(self) -> ImageRecords:
        """What is on record of images."""

    @property
    def resources(self) -> ResourceRecords:
        """The resources that rows wait for."""

    @property
    def fresh(self) -> bool:
        """Whether nobody else can have taken the target yet. Not fresh is not lost: renewing tells which."""

    @property
    def epoch(self) -> int:
        """How often the target was taken, this time included."""

    def check_owned(self) -> None:
        """Raise LeaseLostError where the target is known to be another's, or was released."""

    async def renew(self) -> None:
        """Keep the target for another time to live. Raises LeaseLostError if another process has it."""

    async def release(self) -> None:
        """Leave the target, after everything that was changed before, to whoever comes next."""

    async def flush(self) -> None:
        """Wait until every change so far is durable. Raises StateError if one of them was not allowed."""

    def check_in_place(self) -> None:
        """Raise StateError where the file was removed or replaced: nobody sees what we write any more."""

    async def retry(self, states: frozenset[JobState] = frozenset({JobState.FAILED})) -> int:
        """How many jobs of the target in these states are pending again, with a full allowance."""

    async def bind(self, found: CloudIdentity, *, rebind: bool = False) -> None:
        """Note which cloud the target is, at its first sign-in; raises WrongCloudError at another later on.

        With `rebind` the addresses of the cloud's services may have changed, and are noted anew.
        """

    async def skip_duplicates(self, others: Sequence[StoreRef] = ()) -> Skipped:
        """Skip pending jobs whose volume another target of the same project has, or that `others`, further
        state files, show as exported.
        """

    async def claim(
        self,
        limit: int,
        *,
        now_s: float,
        server_now_s: float,
        max_gib: int | None = None,
        order: ExportOrder = ExportOrder.PRIORITY,
    ) -> list[Job]:
        """At most `limit` jobs whose intent is now on disk: those whose wait is over, then new ones in order.

        With `max_gib`, only jobs whose volume is not larger, as far as its size is known.
        """

    def apply(self, *changes: Change) -> None:
        """Make these changes, in their order; durable with the next `flush`.

        One whose job is not in a state that it may start from is left out, and raised as StateError by
        `flush` and `claim`.
        """

    async def commit(self, *changes: Change) -> None:
        """Make these changes, all or none; durable on return. Raises StateError where one is not allowed."""

    async def jobs_in(self, state: JobState) -> list[Job]:
        """The jobs that are submitting (after `take`, those that a dead process may have sent), exporting or
        ambiguous.
        """

    async def next_due_s(self, *, max_gib: int | None = None) -> float | None:
        """When the next pending job may go, seconds since the epoch; 0.0 = now, None = none is pending.

        `max_gib` is that of `claim`.
        """

    async def forbidden(self) -> Forbiddings:
        """The pending rows whose last request the cloud forbade."""

    async def pending(self) -> PendingJobs:
        """How many jobs are pending. Fast at any size."""

    async def unchecked(
        self,
        *,
        volume_ids: Sequence[str] | None = None,
        image_names: Sequence[str] | None = None,
        after: int = 0,
        limit: int = UNCHECKED_PAGE,
    ) -> list[NeverAttempted]:
        """The jobs never tried and not looked at that are for these volumes, or the first behind job `after`.

        With `image_names`, those never tried that want one of these, looked at or not.
        """

    async def open_jobs(
        self,
        *,
        volume_ids: Sequence[str] = (),
        stalled_at: float | None = None,
        pending_after: int | None = None,
    ) -> list[OpenRow]:
        """The jobs for these volumes that have not ended; or, at a time, the exports past their deadlines and
        every job whose request is in doubt; or the first pending ones behind a job, none = there are no more.
        """


class Reader(Protocol):
    """A store to look at, during a run and after it. Every answer is as fresh as its call."""

    path: StoreRef
    run: RunRecord

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def overview(self, *, now: float | None = None) -> Overview:
        """How the rows stand, in one read. Fast at any size.

        `now` is the time for which exports past their deadline are counted; None = now.
        """

    def jobs(
        self, states: Collection[JobState] | None = None, *, job_ids: Sequence[int] | None = None
    ) -> Iterator[JobReport]:
        """Every job, or those in one of `states`, or those of these ids, in the order of the list.

        Each is read once. Jobs that are submitting or exporting cost as much as there are of them.
        """

    def attempts(
        self, outcome: JobState | None = None, *, latest: int | None = None
    ) -> Iterator[AttemptReport]:
        """Every attempt that ended, oldest first; with `outcome` those that brought the job to this state.

        With `latest` instead so many of those that ended last, the newest first: fast at any size.
        """

    def reasons(self, *, doubtful: bool = False) -> Iterator[ReasonCount]:
        """Why jobs failed, each in its own words, the most frequent first; as many as there are wordings.
        Where `doubtful`, what is not as it should be with images of those that succeeded.
        """

    def processes(self) -> Processes:
        """Who works, or worked, on the run."""

    def span(self) -> Span:
        """When the run began to export and when its last attempt ended."""

    def downtimes(self) -> list[Downtime]:
        """Every time that a server was stopped for exports, in the order in which they began."""

    def abandoned(self) -> list[Abandoned]:
        """The images of attempts that ended without success; most clouds have removed theirs."""

    def removals(self) -> list[Removal]:
        """The requests to delete images of this run, oldest first, and what came of each."""

    def volume_names(self, volume_ids: Collection[str]) -> dict[str, str]:
        """What these volumes are called, by id; those whose name nobody told are left out."""

    def rows_that_stop(self, in_use: InUse) -> tuple[int, int]:
        """Rows not exported yet that servers may be stopped for, and those of them that are not under way;
        `in_use` is for those that say nothing.
        """
