"""What the store tells whoever looks at a run: frozen records.

Times are seconds since the epoch, UTC; `intent_at` is by the cloud's clock, all others by this machine's.
"""

from __future__ import annotations

import msgspec

from batchexport.identity import CloudIdentity
from batchexport.model import ImageOptions, JobState, ResourceState, ResourceType, ServerState, TargetKey
from batchexport.store.owner import Owner
from batchexport.store.records import TargetRecord

#: How the note of a resource begins that could not be deleted.
CANNOT_BE_DELETED = "cannot be deleted"


class ResourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is ours and not yet released: a server that is not up again, a snapshot, a temporary volume."""

    target: TargetKey
    kind: str  #: `ResourceType`
    resource_id: str  #: of what we create the name that we chose
    name: str | None
    state: ResourceState
    acquiring_at: float | None
    held_at: float | None
    note: str | None  #: what people are to know of it
    volume_ids: tuple[str, ...]  #: of the rows that it is, or was, needed for
    cloud_id: str | None = None  #: of what we created; None = not known
    depends_on: str | None = None  #: the resource that it is made of, and released before
    size_gib: int | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether it could not be deleted."""
        return self.note is not None and self.note.startswith(CANNOT_BE_DELETED)


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """A row that succeeded, and what is known of its image."""

    line: int
    volume_id: str
    image_id: str
    image_name: str
    options: ImageOptions  #: of the row; those of the run come below
    size_gib: int | None  #: of the volume
    image_hash: str | None
    is_shared: bool  #: another row of the target names the same image


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of a target are in one state, and their size as far as it is known."""

    target: TargetKey
    state: JobState
    jobs: int
    gib: int  #: sum over the jobs of known size
    sized_jobs: int  #: jobs of known size


class JobReport(msgspec.Struct, frozen=True, kw_only=True):
    """One row with everything that is known of it."""

    job_id: int
    line: int
    target: TargetKey
    volume_id: str
    image_name: str
    state: JobState
    image_id: str | None
    options: ImageOptions
    size_gib: int | None
    attempts: int
    reason: str | None  #: of the attempt that ended last; None while one is under way or none ended
    code: str | None
    status: int | None  #: HTTP status
    request_id: str | None  #: of the last ending, else of the accepted request
    intent_at: float | None
    accepted_at: float | None
    finished_at: float | None
    next_at: float | None  #: not tried again before; None = not waiting, or for servers to be down
    deadline_at: float | None
    image_hash: str | None = None  #: `sha512:…`, where the cloud told it when the image turned active
    volume_name: str | None = None  #: None = nobody told
    image_status: str | None = None  #: when somebody last looked at its image by its id; None = nobody did


class AttemptReport(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that ended. Attempts that were put back uncounted share their number with the next."""

    target: TargetKey
    job_id: int
    volume_id: str
    size_gib: int | None
    attempt: int
    intent_at: float | None  #: None = it was not sent: it ended by a look at its volume
    accepted_at: float | None  #: None = the cloud did not take it
    ended_at: float
    outcome: JobState  #: the state the job went to
    image_id: str | None
    status: int | None  #: HTTP status
    code: str | None
    reason: str | None
    request_id: str | None


class Abandoned(msgspec.Struct, frozen=True, kw_only=True):
    """The image of an attempt that ended without success."""

    target: TargetKey
    job_id: int
    volume_id: str
    image_name: str
    image_id: str
    may_be_left: bool  #: the attempt left it unfinished, and no later one of its row looked after it


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who works on a target."""

    target: TargetKey
    owner: Owner
    alive: bool | None  #: None = cannot be told from here
    lease_until: float


class ReasonCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs ended for one reason."""

    reason: str
    code: str | None
    jobs: int


class Downtime(msgspec.Struct, frozen=True, kw_only=True):
    """One time that a server was stopped for exports."""

    target: TargetKey
    server_id: str
    name: str | None
    state: ServerState  #: restored or lost at its end; else where it stands
    stopping_at: float | None  #: when it was first asked to stop
    down_at: float | None  #: None = it was not seen down
    up_at: float | None  #: when it was seen up again; None = it is not
    note: str | None  #: what is wrong with it while it is not up
    volume_ids: tuple[str, ...]  #: for which it was stopped

    @property
    def is_over(self) -> bool:
        """Whether the server is up again, or gone."""
        return self.up_at is not None


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """From the first thing that the cloud said about a row to the last. None = it said nothing yet."""

    began_at: float | None
    ended_at: float | None


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """One request to delete an image of ours: newer ones had made it old, or its attempt came to nothing."""

    volume_id: str
    image_id: str
    run_id: str  #: of the night that asked
    asked_at: float
    ended_at: float | None  #: None = nobody knows what came of it
    outcome: str | None
    words: str | None


class WorkPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """One process at work on one target."""

    target_id: int
    began_at: float
    ended_at: float | None  #: None = at work, or ended without a word and not replaced yet
    was_lost: bool  #: it never left the target, killed or with its machine; its end is that of its last sign


class ProcessEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How one process ended its work."""

    began_at: float
    ended_at: float
    exit_code: int
    error: str | None  #: what ended it, where something did
    host: str | None
    job: str | None  #: the job file or list that it was started with, as it is called


class Processes(msgspec.Struct, frozen=True, kw_only=True):
    """Who works, or worked, on a run."""

    holders: list[Holder]  #: who holds which target; released ones are left out, dead owners are not
    periods: list[WorkPeriod]  #: in the order in which they began; none in files of format 1
    last_end: ProcessEnd | None  #: how the last process ended that noted it; None = none did

    @property
    def running(self) -> bool:
        """Whether a process works on the run, as far as can be told from here."""
        return any(holder.alive is not False for holder in self.holders)


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """How a run stands: what is fast to read at any size."""

    tallies: list[Tally]  #: by target and state; what is empty is left out
    targets: list[TargetRecord]  #: in the order of the list
    resources: list[ResourceReport]  #: ours and not yet released; those of one target together
    stalled: int  #: exports past their deadline

    @property
    def copies(self) -> list[ResourceReport]:
        """Those of the resources that are snapshots and temporary volumes."""
        return [each for each in self.resources if each.kind != ResourceType.SERVER]

    @property
    def servers(self) -> list[ResourceReport]:
        """Those of the resources that are servers: not up again."""
        return [each for each in self.resources if each.kind == ResourceType.SERVER]

    @property
    def identities(self) -> dict[TargetKey, CloudIdentity]:
        """What each target was found to be at sign-in; those that nobody signed in to are left out."""
        return {target.key: target.identity for target in self.targets if target.identity is not None}
