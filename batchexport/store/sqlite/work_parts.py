"""What a state file has on record of the images and resources of one target, under its live lease."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from batchexport.model import Job, ResourceRef
from batchexport.store.records import Elsewhere, JobWithResources, KnownImages, LeftOver, Listing, Resource
from batchexport.store.sqlite import images, resources
from batchexport.store.sqlite.files import down_elsewhere, left_over
from batchexport.store.sqlite.lease import Lease
from batchexport.store.sqlite.writer import TargetWriter
from batchexport.store.work_parts import ImageRecords, ResourceRecords


class SqliteImages(ImageRecords):
    """The images of a target, through the writer of its file."""

    def __init__(self, writer: TargetWriter) -> None:
        self._writer = writer

    async def known(self, job: Job) -> KnownImages:
        return await self._writer.run(partial(images.known_images, job=job))

    async def listing(self, *, run_id: str) -> Listing:
        return await self._writer.ask(images.listing, run_id=run_id)

    async def claim_named(self, names: Sequence[str], *, server_now_s: float) -> list[Job]:
        return await self._writer.ask(images.claim_named, names=names, server_now=server_now_s)

    async def claim_appeared(self, named: Sequence[tuple[str, str]], *, server_now_s: float) -> list[Job]:
        return await self._writer.ask(images.claim_appeared, named=named, server_now=server_now_s)

    async def intend_removal(self, job_id: int, image_id: str, *, run_id: str, at_s: float) -> int:
        asking = partial(images.intend_removal, job_id=job_id, image_id=image_id, run_id=run_id, at_s=at_s)
        return await self._writer.run(asking)


class SqliteResources(ResourceRecords):
    """The resources of a target, through the writer of its file."""

    def __init__(self, path: Path, writer: TargetWriter, lease: Lease) -> None:
        self._path = path
        self._writer = writer
        self._lease = lease

    async def outstanding(self, kinds: Collection[str]) -> list[Resource]:
        return await self._writer.ask(resources.outstanding, kinds=kinds)

    async def jobs_needing(
        self, kinds: Collection[str], resource_ids: Collection[str] | None = None
    ) -> list[JobWithResources]:
        if resource_ids is None:
            return await self._writer.ask(resources.under_way, kinds=kinds)
        return await self._writer.ask(resources.rows_of, kinds=kinds, resource_ids=resource_ids)

    async def held_jobs(self, kinds: Collection[str], *, after: int, limit: int) -> list[JobWithResources]:
        return await self._writer.ask(resources.next_held, kinds=kinds, job_id=after, limit=limit)

    async def disturbed(self) -> dict[int, str]:
        return await self._writer.ask(resources.disturbed)

    async def volumes_needing(self, resource_ids: Collection[str]) -> frozenset[str]:
        return await self._writer.ask(resources.volumes_of, resource_ids=resource_ids)

    async def start_release(
        self, refs: Collection[ResourceRef], *, anyway: bool = False
    ) -> frozenset[ResourceRef]:
        return await self._writer.ask(resources.start_release, refs=refs, anyway=anyway)

    async def held_elsewhere(self) -> dict[str, Elsewhere]:
        return await self._writer.run(lambda _: down_elsewhere(self._path))

    def left_over(self, kinds: Collection[str]) -> LeftOver | None:
        return left_over(self._path, self._lease, kinds)
