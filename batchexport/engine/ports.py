"""What the engine needs from a cloud. The real one is `batchexport.cloud`; tests hand in others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

from batchexport.dialect import Dialect
from batchexport.errors import CloudError
from batchexport.identity import CloudIdentity
from batchexport.image_labels import LabelledImage, Labels
from batchexport.model import (
    Accepted,
    ExportRequest,
    Image,
    ImageQuota,
    Server,
    Snapshot,
    SnapshotRequest,
    StorageQuota,
    Volume,
    VolumeRequest,
)

#: Called with no await between it and the sending of a request that changes the cloud; raises to forbid it.
Fence = Callable[[], None]


class BlockStorage(Protocol):
    """The block storage of one project. Reads are repeated by the client after a transient failure."""

    async def upload_volume_to_image(self, request: ExportRequest, *, fence: Fence) -> Accepted:
        """Start the export of a volume: one request, never repeated by the client."""
        ...

    async def get_volume(self, volume_id: str) -> Volume | None:
        """The volume, or None where the cloud knows none of this id."""
        ...

    def volumes(self, *, status: str | None = None) -> AsyncIterator[Sequence[Volume]]:
        """Pages of the project's volumes with their details; with a status, short ones of it alone."""
        ...

    async def failure_reason(self, volume_id: str, request_id: str | None) -> str | None:
        """The cloud's own message on a failed export, or None where it keeps none."""
        ...


class CopyService(Protocol):
    """Snapshots and temporary volumes: the part of the block storage that makes copies of volumes in use."""

    def marked_volumes(self, metadata: Mapping[str, str]) -> AsyncIterator[Sequence[Volume]]:
        """Pages of the volumes with this metadata, with their details.

        Others may be among them, where the cloud does not honour the filter.
        """
        ...

    def marked_snapshots(self, metadata: Mapping[str, str]) -> AsyncIterator[Sequence[Snapshot]]:
        """Pages of the snapshots with this metadata; otherwise as `marked_volumes`."""
        ...

    async def get_snapshot(self, snapshot_id: str) -> Snapshot | None:
        """The snapshot, or None where the cloud knows none of this id."""
        ...

    async def create_snapshot(self, request: SnapshotRequest, *, fence: Fence) -> Snapshot:
        """Make a snapshot: one request, never repeated by the client.

        Raises VolumeStateError where the status of the volume forbids it, QuotaError where a quota does, and
        OutcomeUnknownError where the answer is lost, is about another volume or has another name.
        """
        ...

    async def create_volume(self, request: VolumeRequest, *, fence: Fence) -> Volume:
        """Make a volume: one request, as `create_snapshot`.

        Raises RefusedError, without a request, where the cloud cannot clone and is asked for a clone.
        """
        ...

    async def set_image_metadata(self, volume_id: str, metadata: Mapping[str, str], *, fence: Fence) -> None:
        """Set image metadata of a volume, which its exports put on their images; `id` chooses the image's id.

        May be repeated. Raises RefusedError where the cloud does not offer it.
        """
        ...

    async def get_storage_quota(self) -> StorageQuota | None:
        """How many volumes, snapshots and GiB the project may have and has; None = not told."""
        ...

    async def delete_snapshot(self, snapshot_id: str, *, fence: Fence) -> None:
        """Ask for the snapshot to be deleted; NotFoundError where there is none."""
        ...

    async def delete_volume(self, volume_id: str, *, fence: Fence) -> None:
        """Ask for the volume to be deleted, never with its snapshots; NotFoundError where there is none."""
        ...


class ImageLabels(Protocol):
    """Properties and tags of the images of one project."""

    async def set_labels(self, image_id: str, labels: Labels, *, fence: Fence) -> None:
        """Set these properties, and these tags in the place of others: one request. May be repeated.

        Lost without a word while the image is being written.
        """
        ...

    async def labelled(self, image_ids: Sequence[str]) -> Mapping[str, LabelledImage]:
        """The images of these ids with their labels; those that the cloud does not show are left out."""
        ...


class ImageService(Protocol):
    """The images of one project. Reads are repeated by the client after a transient failure."""

    @property
    def labels(self) -> ImageLabels:
        """Their properties and tags."""
        ...

    async def get_image(self, image_id: str) -> Image | None:
        """The image, or None where the cloud knows none of this id."""
        ...

    async def images_named(self, name: str) -> Sequence[Image]:
        """Every image of exactly this name that the project can see, whatever its status."""
        ...

    def images(
        self,
        *,
        status: str | None = None,
        created_since: float | None = None,
        updated_since: float | None = None,
    ) -> AsyncIterator[Sequence[Image]]:
        """Pages of the project's images, those longest unchanged first (oldest first with `created_since`).

        The bounds are server times and inclusive.
        """
        ...

    def images_by_id(self, image_ids: Sequence[str]) -> AsyncIterator[Sequence[Image]]:
        """Those of these images that are there, in batches of `decide.IDS_PER_REQUEST`, one request each.

        A cloud that cannot list by ids refuses, or answers with others.
        """
        ...

    async def delete_image(self, image_id: str, *, fence: Fence) -> None:
        """Delete the image; NotFoundError where it is gone already."""
        ...

    async def get_quota(self) -> ImageQuota | None:
        """How many images the project may have and has, or None where the cloud does not tell."""
        ...


class Compute(Protocol):
    """The servers of one project. Stopping and starting may be repeated: look at `servers` first.

    Every call raises ConfigError where the cloud has no compute service.
    """

    def servers(self, server_ids: Sequence[str]) -> AsyncIterator[Sequence[Server]]:
        """What is known of these servers now, page by page. A server that is left out proves nothing."""
        ...

    async def get_server(self, server_id: str) -> Server:
        """The server, asked for by its id; CloudError where nothing can be learned of it."""
        ...

    async def stop_servers(
        self, server_ids: Sequence[str], *, hard: bool, fence: Fence
    ) -> Mapping[str, CloudError]:
        """Ask for these to be stopped; `hard` where the guest ignores a gentle stop.

        Returns, by server id, why a server was refused or is in doubt; `servers` tells when the others are
        down. Raises AuthenticationError, which is about all of them.
        """
        ...

    async def start_servers(self, server_ids: Sequence[str], *, fence: Fence) -> Mapping[str, CloudError]:
        """Ask for these to be started; returns as `stop_servers`."""
        ...


class Cloud(Protocol):
    """One project in one region. Every call passes the rate limiter and raises only errors of `CloudError`.

    An iterator yields one list per page, and each page is one request.
    """

    @property
    def identity(self) -> CloudIdentity | None:
        """Which cloud, region and project it is, as found at sign-in; None = unknown, and any is accepted."""
        ...

    @property
    def block_storage(self) -> BlockStorage:
        """Its volumes."""
        ...

    @property
    def copies(self) -> CopyService:
        """Its snapshots and temporary volumes."""
        ...

    @property
    def image(self) -> ImageService:
        """Its images."""
        ...

    @property
    def compute(self) -> Compute:
        """Its servers."""
        ...

    @property
    def dialect(self) -> Dialect:
        """The rules of its block storage."""
        ...

    @property
    def requests_per_second(self) -> float:
        """The rate that is allowed now, by what the cloud taught us; 0 = not limited."""
        ...

    def server_now_s(self) -> float:
        """Seconds since the epoch by the cloud's clock, as its `Date` headers tell it."""
        ...


def cloud_name(cloud: Cloud) -> str | None:
    """The name that the cloud was signed in to by; None = it has none."""
    return None if cloud.identity is None else cloud.identity.cloud
