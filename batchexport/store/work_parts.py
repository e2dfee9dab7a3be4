"""The parts of `Work` that serve one capability each: what is on record of images, and of resources."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from batchexport.model import Job, ResourceRef
from batchexport.store.records import Elsewhere, JobWithResources, KnownImages, LeftOver, Listing, Resource


class ImageRecords(Protocol):
    """What is on record of the images of a target: evidence of what was sent, and of what was removed."""

    async def known(self, job: Job) -> KnownImages:
        """What is known of the images of a job."""

    async def listing(self, *, run_id: str) -> Listing:
        """For which jobs all images of the project were listed."""

    async def claim_named(self, names: Sequence[str], *, server_now_s: float) -> list[Job]:
        """The jobs of these image names for which nothing was sent as far as is known: submitting now."""

    async def claim_appeared(self, named: Sequence[tuple[str, str]], *, server_now_s: float) -> list[Job]:
        """The jobs of these images, by name and id, for which nothing was sent as far as is known, though the
        image was not there when all were listed: submitting now, and no image of their name is proved theirs.
        """

    async def intend_removal(self, job_id: int, image_id: str, *, run_id: str, at_s: float) -> int:
        """Note that an image is about to be deleted; the number for `RemovalEnded`."""


class ResourceRecords(Protocol):
    """What is on record of the resources of a target, and of the jobs that need them."""

    async def outstanding(self, kinds: Collection[str]) -> list[Resource]:
        """The resources of these kinds that are ours to release."""

    async def jobs_needing(
        self, kinds: Collection[str], resource_ids: Collection[str] | None = None
    ) -> list[JobWithResources]:
        """The jobs that have not ended and need any of these; None = all with resources that were sent."""

    async def held_jobs(self, kinds: Collection[str], *, after: int, limit: int) -> list[JobWithResources]:
        """The first held jobs behind job `after`, in the order of the list, with their needs of these kinds.

        Those that wait for resources of another kind are among them.
        """

    async def disturbed(self) -> dict[int, str]:
        """By job id, the server that was started while the volume of the job was being exported."""

    async def volumes_needing(self, resource_ids: Collection[str]) -> frozenset[str]:
        """The volumes of all jobs that ever needed these."""

    async def start_release(
        self, refs: Collection[ResourceRef], *, anyway: bool = False
    ) -> frozenset[ResourceRef]:
        """The intent to release these: all `anyway`, else those whose jobs have no export in progress.

        Returns those. Their pending jobs are held again, in the same transaction.
        """

    async def held_elsewhere(self) -> dict[str, Elsewhere]:
        """The servers that other state files of the folder hold, by id."""

    def left_over(self, kinds: Collection[str]) -> LeftOver | None:
        """The outstanding resources, where the file can still be read; None = the target was taken over."""
