"""What the store tells whoever works on a run: frozen records.

Times are seconds since the epoch, UTC; `intent_at` is by the cloud's clock, all others by this machine's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec

from batchexport.identity import CloudIdentity
from batchexport.model import FINAL_STATES, InUse, Job, JobState, ResourceRef, ResourceState, TargetKey


class StoreRef(Protocol):
    """Which store, as `--state` takes it: a path for a state file, another type for another back end."""

    @property
    def name(self) -> str:
        """What people call it, without its place."""

    @property
    def stem(self) -> str:
        """What files about it are named after."""

    def exists(self) -> bool:
        """Whether there is such a store."""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a state file was made from."""

    run_id: str
    created_at: float
    list_name: str
    list_sha256: str
    rows: int
    settings: str  #: JSON: what was asked of the images
    version: str  #: of batchexport
    stop_rows: int = 0  #: rows that say themselves that servers are to be stopped for them
    in_use: InUse | None = None  #: what the run was last told to do with volumes in use; None = nothing
    may_stop: bool = False  #: somebody agreed to servers being stopped


class TargetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One target of the run."""

    target_id: int
    key: TargetKey
    requests_per_second: float | None  #: what the cloud taught an earlier process; None = nothing yet
    identity: CloudIdentity | None = None  #: what sign-in found it to be; None = nobody signed in yet


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """One value that several rows of a target share, though it must be unique there."""

    field: str  #: volume_id or image_name
    value: str
    lines: tuple[int, ...]  #: of the job list, ascending
    target: TargetKey


class NeverAttempted(msgspec.Struct, frozen=True, kw_only=True):
    """A row that no attempt was made of, and the line of the list it stands on."""

    line: int
    job: Job


class Forbiddings(msgspec.Struct, frozen=True, kw_only=True):
    """What is known from earlier processes of rows that the cloud forbids to export."""

    job_ids: frozenset[int]  #: pending rows whose last request was answered with 403
    others_were_accepted: bool  #: the cloud accepted some row of the target; False where no row is forbidden


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that is outstanding: acquiring, held or releasing."""

    kind: str  #: as `ResourceRef.kind`
    resource_id: str  #: the cloud's; of what we create the name that we chose
    name: str | None  #: what people call it
    state: ResourceState
    acquiring_at: float | None = None  #: when it was first to be requested
    cloud_id: str | None = None  #: of what we created; None = not known
    depends_on: str | None = None  #: the resource that it is made of, which is released after it
    volume_id: str | None = None  #: of the list, which it was made of
    size_gib: int | None = None
    note: str | None = None  #: what people are to know of it

    @property
    def ref(self) -> ResourceRef:
        """Its key in the store."""
        return ResourceRef(self.kind, self.resource_id)

    def __str__(self) -> str:
        told = self.name or self.cloud_id
        return f"{self.resource_id} ({told})" if told else self.resource_id


class JobWithResources(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is not at its end and needs resources."""

    job: Job
    state: JobState
    held: bool  #: it is not sent before its resources are held
    needs: tuple[str, ...]  #: ids of resources, of the kinds that were asked for


class KnownImages(msgspec.Struct, frozen=True, kw_only=True):
    """The images that the state file connects with a job, by its own words or by their name."""

    of_attempts: Mapping[str, str | None]  #: image ids of ended attempts, with the code of their ending
    before: frozenset[str]  #: ids of images of the job's name that were there before the first request
    earlier_names: frozenset[str]  #: under which requests for the job may have been sent, too
    complete: bool  #: every image of the name that was there before is among `before`


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of all images has shown for the jobs of a target."""

    last_job_id: int  #: the last job whose name it was searched for; 0 = there was no list
    any_unlisted: bool  #: some jobs to send have names that prove nothing and were not searched for
    any_listed: bool  #: some have such names, and were searched for: an image of theirs came later


class PendingJobs(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs are pending."""

    jobs: int
    unchecked: int  #: of these, those whose volume is of unknown size: it was not looked at


class Remaining(msgspec.Struct, frozen=True, kw_only=True):
    """What is left to do in all targets of a run."""

    jobs: Mapping[JobState, int]  #: how many are in each state; every state is there
    resources: int  #: not released yet

    def is_done(self, again: Collection[JobState] = ()) -> bool:
        """Whether every job is at its end, none of them to be tried `again`, and every resource released."""
        return not self.resources and not any(
            jobs for state, jobs in self.jobs.items() if state not in FINAL_STATES or state in again
        )


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs were skipped because their volumes go, or went, elsewhere."""

    known_twice: int  #: another target of the same project has them
    exported: Mapping[StoreRef, int]  #: by the state file that shows them as exported


class OpenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is not at its end, and the state it is in."""

    job: Job
    state: JobState


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """The state file that a server was stopped by, when it is not our own."""

    path: StoreRef
    run_id: str
    is_working: bool  #: a process works on it, or may: it will start the server


class LeftOver(msgspec.Struct, frozen=True, kw_only=True):
    """The resources of one target that are outstanding, as the file has them."""

    resources: list[Resource]
    rows: list[JobWithResources]  #: that need them, and are not at their end
    volume_ids: frozenset[str]  #: of all rows that need or needed them


class RefusedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was sent already and now asks for another image."""

    line: int  #: of the list as it is now
    volume_id: str
    state: str


class Differences(msgspec.Struct, frozen=True, kw_only=True):
    """How a list differs from the rows of its state file."""

    new: int = 0
    changed: int = 0  #: rows of which nothing is under way or there: they take their new values
    left_out: int = 0  #: no longer in the list, and nothing was ever sent for them
    kept: int = 0  #: no longer in the list, but something was sent for them
    refused: int = 0  #: changed after they were sent: the change is not taken
    first_refused: tuple[RefusedRow, ...] = ()
