"""Snapshots and temporary volumes: what is made of a volume in use, so that a copy of it can be exported.

Every create is sent once. No token can make a second one harmless, so each bears a name and metadata of ours,
by which lists find what a lost response left.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

import msgspec

from batchexport.cloud.block_storage import LongVolumePage, VolumeResponse, texts
from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http.paging import LinkRecord, Pager, has_next_link
from batchexport.cloud.http.responses import (
    LenientDecoder,
    Response,
    epoch_s,
    is_id,
    require_same,
    valid_size_gib,
)
from batchexport.cloud.http.session import HttpSession
from batchexport.cloud.http.transport import Fence
from batchexport.cloud.storage_quota import read_storage_quota
from batchexport.dialect import Dialect, DialectName
from batchexport.errors import NotFoundError, OutcomeUnknownError, RefusedError
from batchexport.model import Snapshot, SnapshotRequest, StorageQuota, Volume, VolumeRequest
from batchexport.redaction import sanitize

T = TypeVar("T")

#: Cinder filters snapshots by metadata from this microversion on; before, it silently lists all of them.
WITH_METADATA_FILTER = "3.22"
SET_IMAGE_METADATA = "os-set_image_metadata"


class SnapshotRecord(msgspec.Struct):
    """A snapshot as returned."""

    id: str
    status: str | None = None
    volume_id: str | None = None
    size: int | None = None
    name: str | None = None
    metadata: dict[str, object] | None = None
    created_at: str | None = None
    group_snapshot_id: str | None = None

    def snapshot(self) -> Snapshot:
        """The snapshot."""
        return Snapshot(
            snapshot_id=self.id,
            status=(self.status or "").lower(),
            volume_id=self.volume_id,
            size_gib=valid_size_gib(self.size),
            name=self.name,
            metadata=texts(self.metadata),
            created_at=epoch_s(self.created_at),
            in_group=self.group_snapshot_id is not None,
        )


class SnapshotResponse(msgspec.Struct):
    """The response that holds one snapshot."""

    snapshot: SnapshotRecord


class SnapshotPage(msgspec.Struct):
    """The response that holds a page of snapshots."""

    snapshots: list[SnapshotRecord]
    snapshots_links: list[LinkRecord] | None = None

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the snapshots of this page."""
        return [record.id for record in self.snapshots]

    @property
    def has_next(self) -> bool:
        """Whether the cloud says that another page follows."""
        return has_next_link(self.snapshots_links)


_SNAPSHOT = LenientDecoder(SnapshotResponse)
_SNAPSHOTS = LenientDecoder(SnapshotPage)
_VOLUME = LenientDecoder(VolumeResponse)
_VOLUMES = LenientDecoder(LongVolumePage)


class CopyService:
    """The snapshots and temporary volumes of one project."""

    def __init__(
        self, session: HttpSession, endpoint: Endpoint, dialect: Dialect, *, project_id: str | None
    ) -> None:
        self._session = session
        self._endpoint = endpoint
        self._project_id = project_id
        self._pager = Pager(session, endpoint)
        self._with_metadata = Pager(session, endpoint, microversion=WITH_METADATA_FILTER)
        self._is_cinder = dialect.name is DialectName.CINDER
        self._filters_snapshots = self._is_cinder and endpoint.version == "v3"

    async def create_snapshot(self, request: SnapshotRequest, *, fence: Fence) -> Snapshot:
        """Request a snapshot of a volume, which may be in use: one request, never repeated.

        Raises OutcomeUnknownError for a response that is not about this snapshot.
        """
        fields = {
            "volume_id": request.volume_id,
            "name": request.name,
            "description": request.description,
            "metadata": dict(request.metadata),
            "force": True,  # needed for volumes in use below microversion 3.66, which is never asked for here
        }
        response = await self._send("POST", self._snapshots, fence, {"snapshot": fields})
        made = _created(response, _SNAPSHOT).snapshot.snapshot()
        _require(response, is_id(made.snapshot_id), f"{made.snapshot_id!r} is not an id")
        _require(
            response, made.volume_id in (None, request.volume_id), f"it is about volume {made.volume_id}"
        )
        _require(response, made.name in (None, request.name), f"it is about a snapshot called {made.name!r}")
        return made

    async def get_snapshot(self, snapshot_id: str) -> Snapshot | None:
        """The snapshot, or None where the cloud knows none of this id."""
        path = f"{self._snapshots}/{quote(snapshot_id, safe='')}"
        try:
            record = (await self._session.read(self._endpoint, path, _SNAPSHOT)).snapshot
        except NotFoundError:
            return None
        require_same(snapshot_id, record.id, "snapshot", path)
        return record.snapshot()

    async def marked_snapshots(self, metadata: Mapping[str, str]) -> AsyncIterator[Sequence[Snapshot]]:
        """Pages of the project's snapshots with this metadata; of all, where the cloud cannot filter them."""
        async for page in self._snapshot_pages(metadata):
            yield [record.snapshot() for record in page.snapshots if is_id(record.id)]

    async def _snapshot_pages(self, metadata: Mapping[str, str]) -> AsyncIterator[SnapshotPage]:
        path = "/snapshots/detail"
        if self._filters_snapshots:
            pages = self._with_metadata.pages(path, _SNAPSHOTS, metadata=_filter(metadata))
            try:
                async for page in pages:
                    yield page
                return
            except RefusedError as error:
                if error.status != 406:
                    raise
                self._filters_snapshots = False  # a Cinder of before 2017
        async for page in self._pager.pages(path, _SNAPSHOTS):
            yield page

    async def delete_snapshot(self, snapshot_id: str, *, fence: Fence) -> None:
        """Request its deletion. Raises NotFoundError where it is gone, VolumeStateError while it is busy."""
        await self._send("DELETE", f"{self._snapshots}/{quote(snapshot_id, safe='')}", fence)

    async def create_volume(self, request: VolumeRequest, *, fence: Fence) -> Volume:
        """Request a volume made of a snapshot or an image, or a clone: one request, never repeated.

        Raises RefusedError where the cloud makes no clones, and OutcomeUnknownError for a response that is
        about another volume.
        """
        if request.snapshot_id is None and request.image_id is None and not self._is_cinder:
            message = "not sent: this cloud makes a volume of a snapshot, and none of another volume"
            raise RefusedError(message, method="POST")
        response = await self._send("POST", "/volumes", fence, {"volume": self._volume_fields(request)})
        record = _created(response, _VOLUME).volume
        _require(response, is_id(record.id), f"{record.id!r} is not an id")
        _require(response, record.id != request.source_volume_id, "it is about the volume to be copied")
        _require(
            response, record.name in (None, request.name), f"it is about a volume called {record.name!r}"
        )
        made_of = record.snapshot_id or record.source_volid or None
        wanted = request.snapshot_id or request.source_volume_id
        _require(response, made_of in (None, wanted), f"it is about a volume made of {made_of}")
        return record.volume()

    def _volume_fields(self, request: VolumeRequest) -> dict[str, object]:
        fields: dict[str, object | None] = {
            "name": request.name,
            "description": request.description,
            "metadata": dict(request.metadata),
        }
        if request.image_id is not None:
            fields["imageRef"] = request.image_id
            fields["size"] = request.size_gib
            fields["volume_type"] = request.volume_type
            fields["availability_zone"] = request.availability_zone
        elif request.snapshot_id is not None:
            fields["snapshot_id"] = request.snapshot_id
        else:
            fields["source_volid"] = request.source_volume_id
        if not self._is_cinder:  # Cinder takes them from the source, and refuses what differs
            fields["size"] = request.size_gib
            fields["volume_type"] = request.volume_type
            fields["availability_zone"] = request.availability_zone
        return {name: value for name, value in fields.items() if value is not None}

    async def marked_volumes(self, metadata: Mapping[str, str]) -> AsyncIterator[Sequence[Volume]]:
        """Pages of the project's volumes with this metadata; of all, where the cloud cannot filter them."""
        asked = _filter(metadata) if self._is_cinder else None
        async for page in self._pager.pages("/volumes/detail", _VOLUMES, metadata=asked):
            yield [record.volume() for record in page.volumes if is_id(record.id)]

    async def get_storage_quota(self) -> StorageQuota | None:
        """How many volumes, snapshots and GiB the project may have and has; None = not told."""
        return await read_storage_quota(self._session, self._endpoint, self._project_id)

    async def delete_volume(self, volume_id: str, *, fence: Fence) -> None:
        """Request its deletion, without its snapshots: a volume that has some is refused.

        Raises NotFoundError where it is gone, and VolumeStateError where its status forbids it.
        """
        await self._send("DELETE", f"/volumes/{quote(volume_id, safe='')}", fence)

    async def set_image_metadata(self, volume_id: str, metadata: Mapping[str, str], *, fence: Fence) -> None:
        """Set image metadata of a volume: what its exports put on their images. `id` chooses the image's id.

        Once more does no harm. Raises RefusedError where the cloud does not offer it.
        """
        body = {SET_IMAGE_METADATA: {"metadata": dict(metadata)}}
        await self._send("POST", f"/volumes/{quote(volume_id, safe='')}/action", fence, body)

    @property
    def _snapshots(self) -> str:
        """Where snapshots are made and deleted: EVS documents Cinder's path for lists alone."""
        return "/snapshots" if self._is_cinder else "/cloudsnapshots"

    async def _send(self, method: str, path: str, fence: Fence, content: object = None) -> Response:
        body = None if content is None else msgspec.json.encode(content)
        return await self._session.request(method, self._endpoint, path, body=body, fence=fence)


def _filter(metadata: Mapping[str, str]) -> str:
    """The text of a filter by metadata: Cinder reads JSON and Python alike."""
    return json.dumps(dict(metadata))


def _created(response: Response, decoder: LenientDecoder[T]) -> T:
    try:
        return decoder.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(response, str(error)) from error


def _require(response: Response, is_good: bool, problem: str) -> None:
    if not is_good:
        raise _unreadable(response, problem)


def _unreadable(response: Response, problem: str) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"the response ({response.status}) does not say what was made: {sanitize(problem)}",
        method=response.method,
        url=response.url,
        status=response.status,
        request_id=response.request_id,
    )
