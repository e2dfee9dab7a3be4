"""The requests that make and delete snapshots and temporary volumes: each create once, under its own name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableSet, Sequence

from msgspec.structs import replace

from batchexport.dialect import DialectName
from batchexport.engine.operations import NotSentError
from batchexport.engine.ports import Cloud, Fence
from batchexport.engine.resources.book import ResourceBook
from batchexport.engine.steps.copy_marks import CopyName, attempt_of, job_of
from batchexport.engine.steps.copy_moments import CopyMoments
from batchexport.engine.steps.copy_watch import CopyWatch
from batchexport.errors import (
    AuthenticationError,
    CloudError,
    NotFoundError,
    RefusedError,
    ThrottledError,
    UnreachableError,
)
from batchexport.model import ResourceType, SnapshotRequest, VolumeRequest
from batchexport.store import Resource


class CopyRequests:
    """Sends them, and notes what the cloud answered."""

    def __init__(
        self,
        cloud: Cloud,
        book: ResourceBook,
        run_id: str,
        known: Mapping[str, Resource],
        fresh: MutableSet[str],
        watch: CopyWatch,
        moments: CopyMoments,
    ) -> None:
        """`known`: by id, what is planned or outstanding; `fresh`: ids of what was never requested."""
        self._cloud = cloud
        self._book = book
        self._run_id = run_id
        self._known = known
        self._fresh = fresh
        self._watch = watch
        self.moments = moments
        self._made: dict[str, str] = {}  # by resource id, the id in the cloud

    def made_of(self, volume: Resource) -> str:
        """What to say of the image of a temporary volume."""
        if volume.depends_on is None:
            return "crash-consistent: made from a clone of the volume while it was in use"
        words = self.moments.of(self._known.get(volume.depends_on), volume.depends_on)
        made_of = "crash-consistent: made from a snapshot of the volume while it was in use"
        return ", ".join(filter(None, (made_of, words)))

    def made(self, resource_ids: Sequence[str]) -> list[str]:
        """The ids in the cloud of those of these that were made."""
        return [each for name in resource_ids if (each := self._made.get(name))]

    async def create(self, resource_ids: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
        """Request these at once; by id, what was refused or is in doubt.

        Raises NotSentError where nothing was sent, and AuthenticationError.
        """
        answers = await asyncio.gather(
            *(self._create(each, fence) for each in resource_ids), return_exceptions=True
        )
        failed: dict[str, CloudError] = {}
        unsent = 0
        for resource_id, answer in zip(resource_ids, answers, strict=True):
            if isinstance(answer, CloudError) and not isinstance(answer, AuthenticationError):
                failed[resource_id] = answer
            elif isinstance(answer, NotSentError):
                unsent += 1
            elif isinstance(answer, BaseException):
                raise answer
        if unsent == len(resource_ids):
            raise NotSentError
        return failed

    async def _create(self, resource_id: str, fence: Fence) -> None:
        resource = self._known[resource_id]

        def sending() -> None:
            fence()
            self._fresh.discard(resource_id)  # from here on it may have been made
            self._watch.schedule.requested(resource_id, ResourceType(resource.kind), "made")

        try:
            cloud_id = await self._send(resource, sending)
        except (RefusedError, UnreachableError, ThrottledError):
            self._fresh.add(resource_id)  # it certainly was not
            raise
        self._made[resource_id] = cloud_id
        await self._book.created(resource_id, cloud_id)

    async def _send(self, resource: Resource, fence: Fence) -> str:
        name = CopyName(
            kind=ResourceType(resource.kind),
            run_id=self._run_id,
            job_id=job_of(resource.resource_id),
            attempt=attempt_of(resource.resource_id),
            token=resource.resource_id.rsplit("-", 1)[1],
        )
        description = f"Temporary, for the export of {resource.volume_id}"
        source_id = resource.volume_id or ""
        if resource.kind == ResourceType.SNAPSHOT:
            made = await self._cloud.copies.create_snapshot(
                SnapshotRequest(
                    volume_id=source_id, name=str(name), description=description, metadata=name.metadata
                ),
                fence=fence,
            )
            if made.created_at is not None:
                self._watch.created_at[resource.resource_id] = made.created_at
            return made.snapshot_id
        request = VolumeRequest(
            name=str(name), description=description, metadata=name.metadata, size_gib=resource.size_gib
        )
        request = await self._with_source(request, resource, source_id)
        return (await self._cloud.copies.create_volume(request, fence=fence)).volume_id

    async def _with_source(self, request: VolumeRequest, resource: Resource, source_id: str) -> VolumeRequest:
        if resource.depends_on is None:
            return replace(request, source_volume_id=source_id)
        snapshot_id = self._known[resource.depends_on].cloud_id
        if self._cloud.dialect.name is not DialectName.EVS:
            return replace(request, snapshot_id=snapshot_id)
        volume = await self._cloud.block_storage.get_volume(source_id)
        details = None if volume is None else volume.details
        return replace(
            request,
            snapshot_id=snapshot_id,
            volume_type=None if details is None else details.volume_type,
            availability_zone=None if details is None else details.availability_zone,
        )

    async def delete(self, resource_ids: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
        """Request these to be deleted, but for those whose id in the cloud is not known, and those stuck."""
        failed: dict[str, CloudError] = {}
        for resource_id in resource_ids:
            resource = self._known.get(resource_id)
            if resource is None or resource.cloud_id is None or resource_id in self._watch.stuck:
                continue
            try:
                if resource.kind == ResourceType.SNAPSHOT:
                    await self._cloud.copies.delete_snapshot(resource.cloud_id, fence=fence)
                else:
                    await self._cloud.copies.delete_volume(resource.cloud_id, fence=fence)
            except NotFoundError:
                continue  # one answer proves nothing: the next polls will tell
            except AuthenticationError:
                raise
            except CloudError as error:
                failed[resource_id] = error
            else:
                self._watch.deleted.add(resource_id)
                self._watch.schedule.requested(resource_id, ResourceType(resource.kind), "deleted")
        return failed
