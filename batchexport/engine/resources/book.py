"""What the store keeps of a target's resources: today servers. The only place that knows its terms."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from batchexport.changes import (
    JobNeeds,
    JobsDetached,
    JobsReleased,
    ResourceNoted,
    ResourcesAcquiring,
    ResourcesHeld,
    ResourcesReleased,
    ResourcesSeenFree,
)
from batchexport.engine.resources.lifecycle import ResourceState
from batchexport.model import Job, Server, ServerState
from batchexport.store import AfootServer, Elsewhere, LinkedRow, Work

_STATES = {
    ServerState.STOPPING: ResourceState.ACQUIRING,
    ServerState.DOWN: ResourceState.HELD,
    ServerState.STARTING: ResourceState.RELEASING,
}


class Resource(msgspec.Struct, frozen=True):
    """A resource that is outstanding: acquiring, held or releasing."""

    resource_id: str
    name: str | None
    state: ResourceState

    def __str__(self) -> str:
        return f"{self.resource_id} ({self.name})" if self.name else self.resource_id


class Candidate(msgspec.Struct, frozen=True):
    """A resource that is about to be acquired, as it was found."""

    resource_id: str
    name: str | None = None
    status: str = ""  #: the cloud's word
    updated_at: float | None = None  #: when its record last changed, by the service; None = not told

    def __str__(self) -> str:
        return f"{self.resource_id} ({self.name})" if self.name else self.resource_id


class ResourceBook:
    """The resources of one target and the jobs that need them. What is awaited is durable when it returns.

    A job that needs resources is *held*: pending, and never claimed before `let_start`.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    async def outstanding(self) -> list[Resource]:
        """What is ours to release."""
        return [as_resource(server) for server in await self._work.resources()]

    async def jobs_of(self, resource_ids: Collection[str]) -> list[LinkedRow]:
        """The jobs that need any of these and have not ended, in the order of the list."""
        return await self._work.jobs_needing(resource_ids) if resource_ids else []

    async def jobs_in_progress(self) -> list[LinkedRow]:
        """The jobs with resources that were sent and have not ended."""
        return await self._work.jobs_needing()

    async def held_jobs(self, after_job_id: int, *, limit: int) -> list[LinkedRow]:
        """The first held jobs behind this one, in the order of the list."""
        return await self._work.held_jobs(after=after_job_id, limit=limit)

    async def disturbed(self) -> dict[int, str]:
        """By job id, the resource that was released while the volume of the job was being exported."""
        return await self._work.disturbed()

    async def volumes_of(self, resource_ids: Collection[str]) -> frozenset[str]:
        """The volumes of all jobs that ever needed these."""
        return await self._work.volumes_needing(resource_ids)

    async def elsewhere(self) -> dict[str, Elsewhere]:
        """The resources that other state files of the folder hold, by id."""
        return await self._work.held_elsewhere()

    async def acquiring(self, found: Sequence[Candidate], *, at_s: float) -> None:
        """The intent to acquire these, as they were found."""
        servers = [Server(server_id=each.resource_id, name=each.name, status=each.status) for each in found]
        await self._work.commit(ResourcesAcquiring(found=servers, at_s=at_s))

    async def held(self, resource_ids: Collection[str], *, at_s: float) -> None:
        """These are acquired."""
        await self._work.commit(ResourcesHeld(resource_ids=resource_ids, at_s=at_s))

    async def releasing(self, resource_ids: Collection[str], *, anyway: bool) -> frozenset[str]:
        """The intent to release these: all `anyway`, else those whose jobs have no export in progress.

        Returns those. Their pending jobs are held again, in the same transaction.
        """
        return await self._work.start_release(resource_ids, anyway=anyway)

    async def released(self, resource_ids: Collection[str], *, at_s: float, is_lost: bool) -> None:
        """These are released, or lost; their pending jobs are held."""
        released = ResourcesReleased(resource_ids=resource_ids, at_s=at_s, is_lost=is_lost)
        await self._work.commit(released)

    async def seen_free(self, resource_ids: Collection[str], *, at_s: float) -> None:
        """These, which are not ours to release, were seen free while jobs needed them."""
        await self._work.commit(ResourcesSeenFree(resource_ids=resource_ids, at_s=at_s))

    async def note(self, resource_id: str, problem: str) -> None:
        """What is wrong with it, until it is released."""
        await self._work.commit(ResourceNoted(resource_id, problem))

    async def needs(self, job: Job, resource_ids: Sequence[str]) -> None:
        """The job needs these, and no others."""
        await self._work.commit(JobNeeds(job, resource_ids))

    async def let_start(self, jobs: Sequence[Job], *, at_s: float) -> None:
        """Everything that these jobs need is held: they are claimed before all that never waited."""
        await self._work.commit(JobsReleased(jobs=jobs, at_s=at_s))

    async def detach(self, jobs: Sequence[Job]) -> None:
        """These jobs need no resources any more, and may start."""
        await self._work.commit(JobsDetached(jobs))


def as_resource(server: AfootServer) -> Resource:
    """The store's record of an outstanding server."""
    return Resource(server.server_id, server.name, _STATES[server.state])
