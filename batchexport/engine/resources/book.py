"""What the store keeps of a target's resources of some kinds. The only place that knows its terms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec

from batchexport.changes import (
    DuplicateFound,
    JobNeeds,
    JobsDetached,
    JobsReleased,
    Planned,
    ResourceCreated,
    ResourceFound,
    ResourceNoted,
    ResourcesAcquiring,
    ResourcesHeld,
    ResourcesReleased,
    ResourcesSeenFree,
)
from batchexport.model import Job, ResourceRef
from batchexport.store import Elsewhere, JobWithResources, Resource, Work


class Candidate(msgspec.Struct, frozen=True):
    """A resource that is about to be acquired, as it was found."""

    resource_id: str
    name: str | None = None
    status: str = ""  #: the cloud's word
    updated_at: float | None = None  #: when its record last changed, by the service; None = not told
    depends_on: str | None = None  #: the resource that it is made of: requested once that is held

    def __str__(self) -> str:
        return f"{self.resource_id} ({self.name})" if self.name else self.resource_id


class ResourceBook:
    """The resources of one target and the jobs that need them. What is awaited is durable when it returns.

    A job that needs resources is *held*: pending, and never claimed before `let_start`.
    """

    def __init__(self, work: Work, kinds: Sequence[str], kind_of: Callable[[str], str] | None = None) -> None:
        """`kind_of` tells the kind of a resource by its id; None = there is one kind."""
        self._work = work
        self.kinds = kinds
        self._kind_of = kind_of

    def ref(self, resource_id: str) -> ResourceRef:
        """The key of a resource in the store."""
        return ResourceRef(self._kind_of(resource_id) if self._kind_of else self.kinds[0], resource_id)

    def _refs(self, resource_ids: Collection[str]) -> list[ResourceRef]:
        return [self.ref(resource_id) for resource_id in resource_ids]

    async def outstanding(self) -> list[Resource]:
        """What is ours to release."""
        return await self._work.resources.outstanding(self.kinds)

    async def jobs_of(self, resource_ids: Collection[str]) -> list[JobWithResources]:
        """The jobs that need any of these and have not ended, in the order of the list."""
        return await self._work.resources.jobs_needing(self.kinds, resource_ids) if resource_ids else []

    async def jobs_in_progress(self) -> list[JobWithResources]:
        """The jobs with resources that were sent and have not ended."""
        return await self._work.resources.jobs_needing(self.kinds)

    async def held_jobs(self, after_job_id: int, *, limit: int) -> list[JobWithResources]:
        """The first held jobs behind this one, in the order of the list, those of other kinds among them."""
        return await self._work.resources.held_jobs(self.kinds, after=after_job_id, limit=limit)

    async def disturbed(self) -> dict[int, str]:
        """By job id, the resource that was released while the volume of the job was being exported."""
        return await self._work.resources.disturbed()

    async def volumes_of(self, resource_ids: Collection[str]) -> frozenset[str]:
        """The volumes of all jobs that ever needed these."""
        return await self._work.resources.volumes_needing(resource_ids)

    async def elsewhere(self) -> dict[str, Elsewhere]:
        """The servers that other state files of the folder hold, by id."""
        return await self._work.resources.held_elsewhere()

    async def acquiring(self, found: Sequence[Candidate], *, at_s: float) -> None:
        """The intent to acquire these, as they were found."""
        resources = [
            ResourceFound(ref=self.ref(each.resource_id), name=each.name, status=each.status)
            for each in found
        ]
        await self._work.commit(ResourcesAcquiring(found=resources, at_s=at_s))

    async def held(self, resource_ids: Collection[str], *, at_s: float) -> None:
        """These are acquired."""
        await self._work.commit(ResourcesHeld(resources=self._refs(resource_ids), at_s=at_s))

    async def created(self, resource_id: str, cloud_id: str) -> None:
        """The cloud's id of a resource that we created."""
        await self._work.commit(ResourceCreated(self.ref(resource_id), cloud_id))

    async def duplicate(self, resource_id: str, cloud_id: str, *, volume_id: str | None, at_s: float) -> None:
        """The cloud made a second one of a request: it is held, and nobody needs it."""
        change = DuplicateFound(
            resource=self.ref(resource_id), cloud_id=cloud_id, volume_id=volume_id, at_s=at_s
        )
        await self._work.commit(change)

    async def releasing(self, resource_ids: Collection[str], *, anyway: bool) -> frozenset[str]:
        """The intent to release these: all `anyway`, else those whose jobs have no export in progress.

        Returns those. Their pending jobs are held again, in the same transaction.
        """
        if not resource_ids:
            return frozenset()
        started = await self._work.resources.start_release(self._refs(resource_ids), anyway=anyway)
        return frozenset(ref.resource_id for ref in started)

    async def released(self, resource_ids: Collection[str], *, at_s: float, is_lost: bool) -> None:
        """These are released, or lost; their pending jobs are held."""
        released = ResourcesReleased(resources=self._refs(resource_ids), at_s=at_s, is_lost=is_lost)
        await self._work.commit(released)

    async def seen_free(self, resource_ids: Collection[str], *, at_s: float) -> None:
        """These, which are not ours to release, were seen free while jobs needed them."""
        await self._work.commit(ResourcesSeenFree(resources=self._refs(resource_ids), at_s=at_s))

    async def note(self, resource_id: str, problem: str) -> None:
        """What is wrong with it, until it is released."""
        await self._work.commit(ResourceNoted(self.ref(resource_id), problem))

    async def needs(self, job: Job, resource_ids: Sequence[str]) -> None:
        """The job needs these, which exist already, and no others."""
        await self.plan(job, [Planned(ref=ref) for ref in self._refs(resource_ids)])

    async def plan(self, job: Job, needs: Sequence[Planned]) -> None:
        """The job needs these, which are to be created, and no others."""
        await self._work.commit(JobNeeds(job, needs))

    async def let_start(self, jobs: Sequence[Job], *, at_s: float) -> None:
        """Everything that these jobs need is held: they are claimed before all that never waited."""
        await self._work.commit(JobsReleased(jobs=jobs, at_s=at_s))

    async def detach(self, jobs: Sequence[Job]) -> None:
        """These jobs need no resources any more, and may start."""
        await self._work.commit(JobsDetached(jobs))
