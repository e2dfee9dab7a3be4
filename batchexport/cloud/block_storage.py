"""Block storage: read volumes, export one to an image, find out why an export failed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import quote

import msgspec

from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http.paging import LinkRecord, Pager, has_next_link
from batchexport.cloud.http.responses import (
    Decoder,
    LenientDecoder,
    Response,
    is_id,
    require_same,
    valid_size_gib,
)
from batchexport.cloud.http.session import HttpSession
from batchexport.cloud.http.transport import Fence
from batchexport.dialect import Dialect, DialectName, image_name_message
from batchexport.errors import AuthenticationError, NotFoundError, OutcomeUnknownError, RefusedError
from batchexport.model import Accepted, ExportRequest, Volume, VolumeDetails
from batchexport.redaction import sanitize

log = logging.getLogger(__name__)
ACTION = "os-volume_upload_image"
_NO_STATUS = "no-such-status"
#: The first microversion of Cinder with messages, which say why an export failed.
WITH_MESSAGES = "3.3"


class AttachmentRecord(msgspec.Struct):
    """One attachment of a volume, as returned."""

    server_id: str | None = None


class VolumeRecord(msgspec.Struct):
    """A volume as returned; short lists have only its id and name."""

    id: str
    status: str | None = None
    size: int | None = None
    name: str | None = None
    attachments: list[AttachmentRecord] | None = None

    def volume(self, *, status: str = "") -> Volume:
        """The volume; `status` is for lists whose records do not repeat the filter."""
        servers = [attachment.server_id for attachment in self.attachments or ()]
        return Volume(
            volume_id=self.id,
            status=(self.status or status).lower(),
            size_gib=valid_size_gib(self.size),
            name=self.name,
            server_ids=tuple(server_id for server_id in servers if server_id) if servers else (),
            details=self.details(),
        )

    def details(self) -> VolumeDetails | None:
        """What only long records contain."""
        return None


class LongVolumeRecord(VolumeRecord):
    """A volume with all its details."""

    encrypted: bool | None = None
    volume_type: str | None = None
    availability_zone: str | None = None
    metadata: dict[str, object] | None = None
    volume_image_metadata: dict[str, object] | None = None
    snapshot_id: str | None = None
    source_volid: str | None = None

    def details(self) -> VolumeDetails:
        """What only long records contain."""
        metadata = texts(self.metadata)
        return VolumeDetails(
            # EVS has it in the metadata, Cinder in a field.
            encrypted=bool(self.encrypted) or metadata.get("__system__encrypted") == "1",
            volume_type=self.volume_type,
            availability_zone=self.availability_zone,
            metadata=metadata,
            image_metadata=texts(self.volume_image_metadata),
            snapshot_id=self.snapshot_id or None,
            source_volume_id=self.source_volid or None,
        )


class VolumeResponse(msgspec.Struct):
    """The response that holds one volume."""

    volume: LongVolumeRecord


class VolumePage(msgspec.Struct):
    """The response that holds a page of volumes."""

    volumes: Sequence[VolumeRecord]
    volumes_links: list[LinkRecord] | None = None

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the volumes of this page."""
        return [record.id for record in self.volumes]

    @property
    def has_next(self) -> bool:
        """Whether the cloud says that another page follows."""
        return has_next_link(self.volumes_links)


class LongVolumePage(VolumePage):
    """The response that holds a page of volumes with all their details."""

    volumes: Sequence[LongVolumeRecord]


class MessageRecord(msgspec.Struct):
    """A message of block storage to its users."""

    user_message: str | None = None
    request_id: str | None = None
    resource_uuid: str | None = None
    created_at: str | None = None


class MessagesResponse(msgspec.Struct):
    """The response that holds the messages of a project."""

    messages: list[MessageRecord]


class ExportRecord(msgspec.Struct):
    """The started export, as returned."""

    image_id: str
    id: str | None = None  #: of the volume
    image_name: str | None = None
    size: int | None = None


class ExportResponse(msgspec.Struct):
    """The response to the export of a volume."""

    export: ExportRecord = msgspec.field(name=ACTION)


_VOLUME = LenientDecoder(VolumeResponse)


_PAGE = LenientDecoder(VolumePage)


_LONG_PAGE = LenientDecoder(LongVolumePage)


_MESSAGES = LenientDecoder(MessagesResponse)


_EXPORT = msgspec.json.Decoder(ExportResponse, strict=False)  # some clouds send numbers as strings


class BlockStorage:
    """The block storage of one project."""

    def __init__(self, session: HttpSession, endpoint: Endpoint, dialect: Dialect) -> None:
        self._session = session
        self._endpoint = endpoint
        self._pager = Pager(session, endpoint)
        self._dialect = dialect
        self._honours_status: bool | None = None  # None = not checked yet

    async def probe(self) -> None:
        """One small request, to find an error before many requests meet it: they could lock a wrong key."""
        await self._session.read(self._endpoint, "/volumes/detail?limit=1", _PAGE)

    async def get_volume(self, volume_id: str) -> Volume | None:
        """The volume, or None where the cloud knows no volume of this id.

        Raises TransientError for a response about another one.
        """
        path = f"/volumes/{quote(volume_id, safe='')}"
        try:
            response = await self._session.read(self._endpoint, path, _VOLUME)
        except NotFoundError:
            return None
        require_same(volume_id, response.volume.id, "volume", path)
        return response.volume.volume()

    async def volumes(self, *, status: str | None = None) -> AsyncIterator[Sequence[Volume]]:
        """Pages of the project's volumes: short ones of one status, or all volumes with their details."""
        # Cinder's short list is a tenth of the work; EVS documents filters for the long one only.
        short = status is not None and self._dialect.name is DialectName.CINDER
        if short and not await self._status_filter_works():
            short = False
        path = "/volumes" if short else "/volumes/detail"
        decoder: Decoder[VolumePage] = _LONG_PAGE if status is None else _PAGE
        async for page in self._pager.pages(path, decoder, status=status):
            found = [record.volume(status=status or "") for record in page.volumes if is_id(record.id)]
            yield [volume for volume in found if status is None or volume.status == status.lower()]

    async def _status_filter_works(self) -> bool:
        """Whether the short list can be filtered by status.

        Operators can forbid a filter, and Cinder then ignores it silently: short records have no status, so
        every volume would seem to be uploading for ever. Checked once, with a status that no volume has.
        """
        if self._honours_status is None:
            try:
                page = await self._session.read(
                    self._endpoint, f"/volumes?status={_NO_STATUS}&limit=1", _PAGE
                )
                self._honours_status = not page.volumes
            except AuthenticationError:
                raise
            except RefusedError:  # the filter is checked against the known statuses
                self._honours_status = True
            if not self._honours_status:
                message = "the cloud does not list volumes by status; reading all volumes with their details"
                log.warning(message, extra={"action": "status_filter_ignored"})
        return self._honours_status

    async def upload_volume_to_image(self, request: ExportRequest, *, fence: Fence) -> Accepted:
        """Start the export of a volume to an image: one request, never repeated."""
        fields = export_fields(request, self._dialect, api_version=self._endpoint.version)
        path = f"/volumes/{quote(request.volume_id, safe='')}/action"
        body = msgspec.json.encode({ACTION: fields})
        version = export_microversion(fields)
        response = await self._session.request(
            "POST", self._endpoint, path, body=body, fence=fence, microversion=version
        )
        return accepted(response, request)

    async def failure_reason(self, volume_id: str, request_id: str | None) -> str | None:
        """The cloud's latest message about the export, or None where it keeps none."""
        if self._endpoint.version != "v3" or self._dialect.name is not DialectName.CINDER:
            return None
        try:
            response = await self._session.read(
                self._endpoint, "/messages?limit=1000", _MESSAGES, microversion=WITH_MESSAGES
            )
        except AuthenticationError:
            raise
        except RefusedError:  # not available in this cloud, or not to this user
            return None
        return latest_message(response.messages, volume_id=volume_id, request_id=request_id)


def texts(values: Mapping[str, object] | None) -> dict[str, str]:
    """Metadata whose values are texts, as they should be; those that are null are left out."""
    return {name: str(value) for name, value in (values or {}).items() if value is not None}


def latest_message(
    messages: Sequence[MessageRecord], *, volume_id: str, request_id: str | None
) -> str | None:
    """The latest message about a request; where its id is unknown, about the volume."""
    ours = [
        message
        for message in messages
        if (message.request_id == request_id if request_id else message.resource_uuid == volume_id)
    ]
    latest = max(ours, key=lambda message: message.created_at or "", default=None)
    return sanitize(latest.user_message or "") or None if latest else None


def export_fields(request: ExportRequest, dialect: Dialect, *, api_version: str) -> dict[str, str | bool]:
    """The fields of an export that the dialect accepts.

    Raises RefusedError for a format or name that it does not accept.
    """
    options = request.options
    if problem := dialect.disk_format_problem(options.disk_format):
        raise RefusedError(f"not sent: {problem}", method="POST", code="disk_format")
    if problem := dialect.image_name_problem(request.image_name):
        message = image_name_message(problem, dialect)
        raise RefusedError(f"not sent: {message}", method="POST", code="image_name")
    disk_format = options.disk_format or dialect.default_disk_format
    fields: dict[str, str | bool] = {
        "image_name": request.image_name,
        "disk_format": disk_format,
        "container_format": options.container_format or "bare",
        "force": bool(options.force),
    }
    if dialect.takes_os_type and options.os_type is not None:
        fields["__os_type"] = options.os_type
    if dialect.takes_visibility and api_version == "v3":
        fields |= _visibility(options.visibility, protected=options.protected)
    return fields


def _visibility(visibility: str | None, *, protected: bool | None) -> dict[str, str | bool]:
    fields: dict[str, str | bool] = {}
    if visibility is not None:
        fields["visibility"] = visibility
    if protected is not None:
        fields["protected"] = protected
    return fields


def export_microversion(fields: dict[str, str | bool]) -> str | None:
    """The microversion of Cinder that the fields need; None = any."""
    return "3.1" if "visibility" in fields or "protected" in fields else None


def accepted(response: Response, request: ExportRequest) -> Accepted:
    """The started export. Raises OutcomeUnknownError for a response without the id of an image.

    The same for a response to another request: a proxy or cache may confuse them.
    """
    try:
        export = _EXPORT.decode(response.body).export
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(response, str(error)) from error
    if not export.image_id.strip():
        raise _unreadable(response, "the image id is empty")
    if not is_id(export.image_id):
        raise _unreadable(response, f"{export.image_id!r} is not an id")
    if export.id and export.id.replace("-", "").lower() != request.volume_id.replace("-", "").lower():
        raise _unreadable(response, f"it is about volume {export.id!r}")
    if export.image_name and export.image_name.strip() != request.image_name.strip():
        raise _unreadable(response, f"it is about an image called {export.image_name!r}")
    size_gib = valid_size_gib(export.size)
    return Accepted(image_id=export.image_id, size_gib=size_gib, request_id=response.request_id)


def _unreadable(response: Response, reason: str) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"the response ({response.status}) has no id of its image: {sanitize(reason)}",
        method=response.method,
        url=response.url,
        status=response.status,
        request_id=response.request_id,
    )
