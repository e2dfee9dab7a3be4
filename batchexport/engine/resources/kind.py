"""What a kind of resource provides: how to acquire, observe and release it, and which jobs need it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from batchexport.changes import Planned
from batchexport.config import Settings
from batchexport.engine.ledger import Ledger, Subject
from batchexport.engine.ports import Cloud, Fence
from batchexport.engine.resources.book import Candidate, ResourceBook
from batchexport.engine.resources.lifecycle import Limits, Seen
from batchexport.errors import CloudError, RefusedError
from batchexport.model import Ending, ExportRequest, Job, ResourceState, Volume
from batchexport.plan.row_checks import Finding
from batchexport.store import JobWithResources, Resource, Work

#: What services answer while something is on its way from one status to another.
CONFLICT = 409


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What to acquire for a group of jobs, and which of them cannot start."""

    acquire: tuple[Candidate, ...] = ()
    held: frozenset[str] = (
        frozenset()
    )  #: resource ids: as the jobs need them already, and not ours to release
    failed: Mapping[int, Ending] = msgspec.field(default_factory=dict)  #: by job id
    changing: frozenset[str] = frozenset()  #: resource ids: if any, the group waits for these


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged of a kind of resource. The first `%s` is the resource, or a list of them."""

    id_field: str  #: of log records: `server_id`
    name: str  #: "server %s"
    states: Mapping[ResourceState, str]  #: what people call them
    acquiring: str
    held: str
    released: str
    lost: str
    unseen: str  #: none could be observed; `%s` is the error
    taken_back: str  #: somebody else released it
    stuck: str  #: it cannot be released; the second `%s` is the cloud's last answer
    stuck_note: str  #: the same for the store; `%s` is the cloud's last answer
    releasing: str  #: what a run that is stopping waits for
    leave_hint: str  #: how to leave all the same, and what releases them then
    left: str  #: the run ends, and these are not released
    left_hint: str  #: what releases them …
    left_exported_hint: str  #: … where exports in progress need some
    last_hint: str  #: … where the store cannot be written
    last_unread: str  #: … nor read; `%s` is the error
    last_late: str  #: not all were requested to be released; `%s` is why
    last_requested: str  #: requested to be released, and not seen so
    last_kept: str  #: not released


class ResourceKind(Protocol):
    """One kind of resource, or several of which one is made of another.

    Requests may be repeated; what cannot must be found before it is sent again.

    Only `acquire` and `release` change the cloud. All but `select` may raise CloudError, which is about the
    service and not one resource: the poll is repeated. What most kinds answer alike has a default: one that
    derives from this class says what is its own.
    """

    book: ResourceBook  #: what the store keeps of it
    messages: Messages
    stuck_s: float  #: the longest of `limits`
    gib_factor: int = 1  #: GiB that are copied for each GiB of a volume, its export among them
    is_created: bool  #: acquiring creates it, as of `Limits`
    confirms: bool = False  #: whether jobs succeed only after a last look at what they needed

    @property
    def poll_s(self) -> float:
        """Seconds until the next poll, where no other interval was asked for."""
        ...

    @property
    def busy(self) -> Mapping[str, str]:
        """Why resources cannot be released yet, by id, since `releasable` left them out."""
        return {}

    def limits(self, resource: Resource) -> Limits:
        """How long to wait for this resource."""
        ...

    def has_room(
        self,
        rows: Sequence[JobWithResources],
        *,
        outstanding: Sequence[Resource],
    ) -> bool:
        """Whether resources may be acquired for these jobs, beside those that are outstanding."""
        ...

    def is_needed_by(self, job: Job) -> bool:
        """Whether the job, as the settings stand, is to have resources of this kind."""
        ...

    def needs(self, volume: Volume, findings: Sequence[Finding]) -> Sequence[Planned] | None:
        """What the preflight says that a job with this volume needs, as far as that is known.

        None = nothing of this kind.
        """
        ...

    def why_useless(self) -> Ending | None:
        """Why no resource of this kind is of use any more: all jobs that wait fail; None = they are."""
        return None

    async def poll(
        self, outstanding: Sequence[Resource], jobs: Sequence[JobWithResources]
    ) -> Mapping[str, Seen]:
        """What is seen now of the outstanding resources and of those that `jobs` need, by id.

        A resource that is left out is unknown. Notes, too, which exports in progress were disturbed.
        """
        ...

    async def clear(self, job: Job, request: ExportRequest, *, is_held: bool) -> ExportRequest | None:
        """What to send for a job right now, after a last look at what it needs; None = nothing.

        In that case the job waits again, or has failed. `is_held`: everything it needs was held when last
        seen; else nothing is known, for the preflight left the job out. Raises CloudError where the sign-in
        is refused.
        """
        ...

    def subject_of(self, job: JobWithResources, outstanding: Sequence[Resource]) -> Subject | None:
        """What is exported for the job; None = its own volume, or not known yet."""
        return None

    async def confirm(self, jobs: Sequence[JobWithResources]) -> None:
        """End those of these jobs whose image is complete, after a last look at what they needed."""
        ...

    async def refresh(self, job: JobWithResources) -> JobWithResources:
        """The job with the resources that it needs now; one that needs none is let go. Raises CloudError."""
        ...

    def together(self, jobs: Sequence[JobWithResources]) -> frozenset[str]:
        """The volumes whose jobs are to start together with these, beside those that share resources."""
        return frozenset()

    async def plan(self, jobs: Sequence[JobWithResources]) -> Sequence[JobWithResources]:
        """The jobs, which are to start together, with the resources that were chosen for them."""
        return jobs

    async def select(self, jobs: Sequence[JobWithResources], outstanding: Collection[str]) -> Selection:
        """What to acquire for these jobs, which are to start together."""
        ...

    async def acquire(self, resource_ids: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
        """Request these; by id, what was refused or is in doubt."""
        ...

    def is_final(self, resource_id: str, error: CloudError) -> bool:
        """Whether this answer to the request to acquire fails the jobs that need it."""
        return is_refused(error)

    async def try_anew(self, resource: Resource, status: str) -> bool:
        """Whether the jobs of one that cannot be acquired, as its status says, wait for another."""
        return False

    async def releasable(self, resource_ids: Sequence[str]) -> list[str]:
        """Those of these that can be released now without harm to what others do with them."""
        return list(resource_ids)

    async def release(self, resource_ids: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
        """Request the release of these; returns as `acquire`."""
        ...

    def forget(self, resource_id: str) -> None:
        """It is released or lost: what the kind remembers of it goes."""

    def without_store(self, own_volumes: frozenset[str]) -> ResourceKind:
        """The same kind, which asks the store nothing; our jobs export `own_volumes`."""
        return self

    def why_refused(self, error: CloudError) -> Ending:
        """How a job fails whose resource the cloud refuses for good."""
        ...

    def why_not_acquired(self, resource: Resource, status: str, answer: str | None) -> Ending:
        """How a job fails whose resource was not acquired in time; `answer`: of the last failed request."""
        ...

    def why_taken_back(self, resource: Resource) -> Ending:
        """How a job fails whose resource somebody else released before the export began."""
        ...


def is_refused(error: CloudError) -> bool:
    """Whether the request was refused for good."""
    return isinstance(error, RefusedError) and error.status != CONFLICT


#: Makes the kind of one target.
MakeKind = Callable[[Cloud, Work, Ledger, Settings], ResourceKind]
