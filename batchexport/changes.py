"""What may happen to a job, and what may be noted of a target, as values.

The engine decides on one, the store makes it durable, and the same value tells observers. Each change of a
job carries the states that it may start from; the store refuses it in any other. Times are seconds since the
epoch by this machine's clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Self

import msgspec

from batchexport.model import Accepted, Ending, Job, JobState, ResourceRef

PENDING, SUBMITTING, EXPORTING = JobState.PENDING, JobState.SUBMITTING, JobState.EXPORTING
SUCCEEDED, FAILED = JobState.SUCCEEDED, JobState.FAILED
SKIPPED, AMBIGUOUS = JobState.SKIPPED, JobState.AMBIGUOUS

#: States that a change may start from, by the state that it leads to.
StartsFrom = Mapping[JobState, frozenset[JobState]]


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """The intent to export is on disk. Made by `claim` alone."""

    starts_from: ClassVar[StartsFrom] = {SUBMITTING: frozenset({PENDING})}
    job: Job
    before: JobState = PENDING
    after: JobState = SUBMITTING
    ending: Ending | None = None


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud took the request, or was found to have taken it: the image id is known."""

    # A row that is ambiguous only starts by `reconcile`.
    starts_from: ClassVar[StartsFrom] = {EXPORTING: frozenset({SUBMITTING, AMBIGUOUS})}
    job: Job  #: with its image, deadline and time of acceptance
    before: JobState = SUBMITTING  #: or ambiguous
    after: JobState = EXPORTING
    ending: Ending | None = None

    @classmethod
    def by(
        cls,
        job: Job,
        accepted: Accepted,
        *,
        at_s: float,
        deadline_at: float,
        before: JobState = SUBMITTING,
    ) -> Self:
        """The change that this answer of the cloud makes of a job."""
        size_gib = job.size_gib if accepted.size_gib is None else accepted.size_gib
        started = job.taken(accepted, size_gib=size_gib, accepted_at=at_s, deadline_at=deadline_at)
        return cls(job=started, before=before)


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt was made, and the job is at its end."""

    starts_from: ClassVar[StartsFrom] = {
        SUCCEEDED: frozenset({EXPORTING}),
        FAILED: frozenset({SUBMITTING, EXPORTING}),
        SKIPPED: frozenset({SUBMITTING}),
        AMBIGUOUS: frozenset({SUBMITTING}),
    }
    job: Job
    after: JobState  #: one of the final states
    ending: Ending
    at_s: float

    @property
    def before(self) -> JobState:
        """Where the job was: exporting, once its image is known."""
        return _under_way(self.job)


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A job that was never tried, or is held, is at its end without an attempt: none could succeed."""

    starts_from: ClassVar[StartsFrom] = {FAILED: frozenset({PENDING}), SKIPPED: frozenset({PENDING})}
    job: Job
    after: JobState  #: failed or skipped
    ending: Ending
    at_s: float
    before: JobState = PENDING


class Requeued(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt came to nothing, and another is to follow; this one stays in the audit trail."""

    starts_from: ClassVar[StartsFrom] = {PENDING: frozenset({SUBMITTING, EXPORTING})}
    job: Job
    ending: Ending | None
    at_s: float
    next_at: float  #: not before; 0 = at once, infinity = not before `release`
    counted: bool  #: else the number of the attempt is free again
    sent: bool = False  #: the request may have reached the cloud: images are looked for before the next one
    after: JobState = PENDING

    @property
    def before(self) -> JobState:
        """Where the job was: exporting, once its image is known."""
        return _under_way(self.job)


class Snoozed(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing was sent for the attempt: the job waits as before it was claimed, and no trace is left.

    A job whose image is known cannot be snoozed: its image must not be forgotten.
    """

    starts_from: ClassVar[StartsFrom] = {PENDING: frozenset({SUBMITTING})}
    job: Job
    next_at: float  #: as of `Requeued`
    sent: bool = False  #: as of `Requeued`
    before: JobState = SUBMITTING
    after: JobState = PENDING
    ending: Ending | None = None


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that a job is to have, before anything is requested."""

    ref: ResourceRef
    depends_on: str | None = None  #: the resource that it is made of, which is released after it
    volume_id: str | None = None  #: of the list, which it is made of
    size_gib: int | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A pending job waits for resources: nobody claims it before it is released."""

    starts_from: ClassVar[StartsFrom] = {PENDING: frozenset({PENDING})}
    job: Job
    needs: Sequence[Planned] = ()  #: what it waits for, as far as that is known
    before: JobState = PENDING
    after: JobState = PENDING
    ending: Ending | None = None


class Reopened(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud was found to hold no image of an ambiguous job any more."""

    starts_from: ClassVar[StartsFrom] = {PENDING: frozenset({AMBIGUOUS})}
    job: Job
    before: JobState = AMBIGUOUS
    after: JobState = PENDING
    ending: Ending | None = None


class GivenUp(msgspec.Struct, frozen=True, kw_only=True):
    """A person gave the job up, whatever the cloud still does for it."""

    starts_from: ClassVar[StartsFrom] = {FAILED: frozenset({PENDING, SUBMITTING, EXPORTING, AMBIGUOUS})}
    job: Job
    before: JobState
    ending: Ending
    at_s: float
    after: JobState = FAILED


#: A change of one job. All have `job`, `before`, `after` and `ending`, which is None where none is known.
JobChange = Claimed | Started | Ended | Rejected | Requeued | Snoozed | Held | Reopened | GivenUp


class RateLearned(msgspec.Struct, frozen=True):
    """The rate that the cloud allows, for the next process."""

    requests_per_second: float


class SizesLearned(msgspec.Struct, frozen=True):
    """Sizes of volumes by their ids, in GiB; volumes that are not in the list are passed over."""

    size_gib_of: Mapping[str, int]


class NamesLearned(msgspec.Struct, frozen=True):
    """What volumes are called, by their ids; volumes that are not in the list are passed over."""

    name_of: Mapping[str, str]


class ImagesSeen(msgspec.Struct, frozen=True):
    """The status of images when they were read by their ids: for people."""

    status_of: Mapping[str, str]


class NameLookedUp(msgspec.Struct, frozen=True):
    """All images of the job's name that are there before its attempt; none of them is its own."""

    job: Job
    image_ids: Sequence[str]


class ImagesDisowned(msgspec.Struct, frozen=True):
    """These images are not the job's own, whatever their names say."""

    job: Job
    image_ids: Sequence[str]


class ImagesNamed(msgspec.Struct, frozen=True):
    """Images, by name and id, that are there before anything was sent for the jobs of their names."""

    images: Sequence[tuple[str, str]]


class NamesListed(msgspec.Struct, frozen=True):
    """Every image of the project was noted as `ImagesNamed`, for every job that the target now has."""


class RemovalEnded(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request to delete an image: of one by its number, or of all open ones of an image."""

    operation_id: int | None = None
    image_id: str | None = None
    outcome: str
    reason: str
    at_s: float


class ResourceFound(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that is about to be acquired, as it was found."""

    ref: ResourceRef
    name: str | None = None
    status: str = ""  #: the cloud's word


class ResourcesAcquiring(msgspec.Struct, frozen=True, kw_only=True):
    """These are about to be acquired, and were found like this."""

    found: Sequence[ResourceFound]
    at_s: float


class ResourcesHeld(msgspec.Struct, frozen=True, kw_only=True):
    """These are acquired."""

    resources: Collection[ResourceRef]
    at_s: float


class ResourceCreated(msgspec.Struct, frozen=True):
    """The cloud gave a resource that we created this id."""

    resource: ResourceRef
    cloud_id: str


class DuplicateFound(msgspec.Struct, frozen=True, kw_only=True):
    """A second resource of the same name and marker, which is ours and no job needs: it is to be released."""

    resource: ResourceRef  #: with an id that tells the two apart
    cloud_id: str
    volume_id: str | None  #: of the list, which it was made of
    at_s: float


class ResourcesReleased(msgspec.Struct, frozen=True, kw_only=True):
    """These are released, or lost; their pending jobs are held."""

    resources: Collection[ResourceRef]
    at_s: float
    is_lost: bool = False


class ResourcesSeenFree(msgspec.Struct, frozen=True, kw_only=True):
    """These, which are not ours to release, were seen free while jobs needed them."""

    resources: Collection[ResourceRef]
    at_s: float


class ResourceNoted(msgspec.Struct, frozen=True):
    """What is wrong with a resource, until it is released."""

    resource: ResourceRef
    note: str


class ResourceGivenUp(msgspec.Struct, frozen=True, kw_only=True):
    """A person decided that we are not to release these, of whatever kind: they are lost, and this is why."""

    resource_id: str
    reason: str
    at_s: float


class JobNeeds(msgspec.Struct, frozen=True):
    """The job needs these resources, and no others."""

    job: Job
    needs: Collection[Planned]


class JobsReleased(msgspec.Struct, frozen=True, kw_only=True):
    """All that these held jobs need is there: they go before those that never waited."""

    jobs: Sequence[Job]
    at_s: float


class JobsDetached(msgspec.Struct, frozen=True):
    """These jobs need no resources any more, and may go."""

    jobs: Sequence[Job]


#: What was learned about a target, or becomes of its resources: it changes the state of no job.
Fact = (
    RateLearned
    | SizesLearned
    | NamesLearned
    | ImagesSeen
    | NameLookedUp
    | ImagesDisowned
    | ImagesNamed
    | NamesListed
    | RemovalEnded
    | ResourcesAcquiring
    | ResourcesHeld
    | ResourceCreated
    | DuplicateFound
    | ResourcesReleased
    | ResourcesSeenFree
    | ResourceNoted
    | ResourceGivenUp
    | JobNeeds
    | JobsReleased
    | JobsDetached
)

#: What a target's owner may ask the store to make durable.
Change = JobChange | Fact

#: Only `retry` brings jobs back from these, and it changes all that are in one of them.
RETRYABLE_STATES = frozenset({FAILED, SKIPPED, AMBIGUOUS})


def _under_way(job: Job) -> JobState:
    return SUBMITTING if job.image_id is None else EXPORTING


def allowed_changes() -> dict[JobState, frozenset[JobState]]:
    """By state, the other states that some change, or `retry`, may lead to."""
    allowed: dict[JobState, set[JobState]] = {state: set() for state in JobState}
    for kind in (Claimed, Started, Ended, Rejected, Requeued, Snoozed, Reopened, GivenUp):
        for after, befores in kind.starts_from.items():
            for before in befores:
                allowed[before].add(after)
    for state in RETRYABLE_STATES:
        allowed[state].add(PENDING)
    return {state: frozenset(after) for state, after in allowed.items()}
