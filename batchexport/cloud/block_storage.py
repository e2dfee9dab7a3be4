"""Block storage: look at volumes, export one to an image, ask why an export failed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from urllib.parse import quote

import msgspec

from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http.error_bodies import sanitize
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
from batchexport.dialect import Dialect, DialectName, image_name_message
from batchexport.errors import NotFoundError, OutcomeUnknownError, RefusedError, SignInError
from batchexport.model import Accepted, ExportRequest, Volume, VolumeDetails

log = logging.getLogger(__name__)
ACTION = "os-volume_upload_image"
_NO_STATUS = "no-such-status"
#: The first microversion of Cinder that tells why an export failed.
WITH_MESSAGES = "3.3"


class AttachmentRecord(msgspec.Struct):
    """Where a volume is attached, as listed."""

    server_id: str | None = None


class VolumeRecord(msgspec.Struct):
    """A volume as answered; short lists have only its id and name."""

    id: str
    status: str | None = None
    size: int | None = None
    name: str | None = None
    attachments: list[AttachmentRecord] | None = None

    def volume(self, *, status: str = "") -> Volume:
        """The same in our words; `status` is for lists that do not repeat what they were asked for."""
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
        """What only long records tell."""
        return None


class LongVolumeRecord(VolumeRecord):
    """A volume with everything that is known of it."""

    encrypted: bool | None = None
    volume_type: str | None = None
    availability_zone: str | None = None
    metadata: dict[str, object] | None = None
    volume_image_metadata: dict[str, object] | None = None

    def details(self) -> VolumeDetails:
        """What only long records tell."""
        metadata = _texts(self.metadata)
        return VolumeDetails(
            # EVS says it in the metadata, Cinder beside them.
            encrypted=bool(self.encrypted) or metadata.get("__system__encrypted") == "1",
            volume_type=self.volume_type,
            availability_zone=self.availability_zone,
            metadata=metadata,
            image_metadata=_texts(self.volume_image_metadata),
        )


class VolumeAnswer(msgspec.Struct):
    """The answer that holds one volume."""

    volume: LongVolumeRecord


class VolumePage(msgspec.Struct):
    """The answer that holds a page of volumes."""

    volumes: Sequence[VolumeRecord]
    volumes_links: list[LinkRecord] | None = None

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the volumes of this page."""
        return [record.id for record in self.volumes]

    @property
    def has_next(self) -> bool:
        """Whether the cloud says that there are more."""
        return has_next_link(self.volumes_links)


class LongVolumePage(VolumePage):
    """The answer that holds a page of volumes with everything that is known of them."""

    volumes: Sequence[LongVolumeRecord]


class MessageRecord(msgspec.Struct):
    """A message of block storage to its user."""

    user_message: str | None = None
    request_id: str | None = None
    resource_uuid: str | None = None
    created_at: str | None = None


class MessagesAnswer(msgspec.Struct):
    """The answer that holds the messages of a project."""

    messages: list[MessageRecord]


class ExportRecord(msgspec.Struct):
    """What was started, as answered."""

    image_id: str
    id: str | None = None  #: of the volume
    image_name: str | None = None
    size: int | None = None


class ExportAnswer(msgspec.Struct):
    """The answer to the export of a volume."""

    export: ExportRecord = msgspec.field(name=ACTION)


_VOLUME = LenientDecoder(VolumeAnswer)


_PAGE = LenientDecoder(VolumePage)


_LONG_PAGE = LenientDecoder(LongVolumePage)


_MESSAGES = LenientDecoder(MessagesAnswer)


_EXPORT = msgspec.json.Decoder(ExportAnswer, strict=False)  # some clouds send numbers as strings


class BlockStorage:
    """The block storage of one project."""

    def __init__(self, session: HttpSession, endpoint: Endpoint, dialect: Dialect) -> None:
        self._session = session
        self._endpoint = endpoint
        self._pager = Pager(session, endpoint)
        self._dialect = dialect
        self._status_heeded: bool | None = None  # None = not asked yet

    async def probe(self) -> None:
        """One small request: raises what every other would meet. Many at once could lock a wrong key."""
        await self._session.read(self._endpoint, "/volumes/detail?limit=1", _PAGE)

    async def get_volume(self, volume_id: str) -> Volume | None:
        """The volume, or None where the cloud knows none of this id.

        Raises TransientError for an answer about another one.
        """
        path = f"/volumes/{quote(volume_id, safe='')}"
        try:
            answer = await self._session.read(self._endpoint, path, _VOLUME)
        except NotFoundError:
            return None
        require_same(volume_id, answer.volume.id, "volume", path)
        return answer.volume.volume()

    async def volumes(self, *, status: str | None = None) -> AsyncIterator[Sequence[Volume]]:
        """Pages of the project's volumes: those of one status and in short, or all with their details."""
        # Cinder's short list is a tenth of the work for both; EVS documents filters for the long one only.
        short = status is not None and self._dialect.name is DialectName.CINDER
        if short and not await self._heeds_status():
            short = False
        path = "/volumes" if short else "/volumes/detail"
        decoder: Decoder[VolumePage] = _LONG_PAGE if status is None else _PAGE
        async for page in self._pager.pages(path, decoder, status=status):
            found = [record.volume(status=status or "") for record in page.volumes if is_id(record.id)]
            yield [volume for volume in found if status is None or volume.status == status.lower()]

    async def _heeds_status(self) -> bool:
        """Whether the short list holds the volumes of one status where one is asked for.

        Operators can forbid a filter, and Cinder then passes over it without a word: every volume would seem
        to be uploading for ever, for short records have no status. Asked once, with a status nobody has.
        """
        if self._status_heeded is None:
            try:
                page = await self._session.read(
                    self._endpoint, f"/volumes?status={_NO_STATUS}&limit=1", _PAGE
                )
                self._status_heeded = not page.volumes
            except SignInError:
                raise
            except RefusedError:  # it knows what statuses there are
                self._status_heeded = True
            if not self._status_heeded:
                log.warning("the cloud does not list volumes by status; reading them all with their details")
        return self._status_heeded

    async def upload_volume_to_image(self, request: ExportRequest, *, fence: Callable[[], None]) -> Accepted:
        """Start the export of a volume to an image: one request, never repeated."""
        fields = export_fields(request, self._dialect, api_version=self._endpoint.version)
        path = f"/volumes/{quote(request.volume_id, safe='')}/action"
        body = msgspec.json.encode({ACTION: fields})
        version = export_microversion(fields)
        answer = await self._session.request(
            "POST", self._endpoint, path, body=body, fence=fence, microversion=version
        )
        return accepted(answer, request)

    async def failure_reason(self, volume_id: str, request_id: str | None) -> str | None:
        """The cloud's latest message on the export, or None where it keeps none."""
        if self._endpoint.version != "v3" or self._dialect.name is not DialectName.CINDER:
            return None
        try:
            answer = await self._session.read(
                self._endpoint, "/messages?limit=1000", _MESSAGES, microversion=WITH_MESSAGES
            )
        except SignInError:
            raise
        except RefusedError:  # no such service here, too old for it, or not for this user
            return None
        return latest_message(answer.messages, volume_id=volume_id, request_id=request_id)


def _texts(values: Mapping[str, object] | None) -> dict[str, str]:
    return {name: str(value) for name, value in (values or {}).items() if value is not None}


def latest_message(
    messages: Sequence[MessageRecord], *, volume_id: str, request_id: str | None
) -> str | None:
    """The latest message about a request; without its id, about the volume."""
    ours = [
        message
        for message in messages
        if (message.request_id == request_id if request_id else message.resource_uuid == volume_id)
    ]
    latest = max(ours, key=lambda message: message.created_at or "", default=None)
    return sanitize(latest.user_message or "") or None if latest else None


def export_fields(request: ExportRequest, dialect: Dialect, *, api_version: str) -> dict[str, str | bool]:
    """The fields of an export, those that the dialect takes. Raises RefusedError for a format or name it
    does not take.
    """
    options = request.options
    if fault := dialect.disk_format_problem(options.disk_format):
        raise RefusedError(f"not sent: {fault}", method="POST", code="disk_format")
    if fault := dialect.image_name_problem(request.image_name):
        words = image_name_message(fault, dialect)
        raise RefusedError(f"not sent: {words}", method="POST", code="image_name")
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
    """The microversion of Cinder that the fields need; None = any will do."""
    return "3.1" if "visibility" in fields or "protected" in fields else None


def accepted(answer: Response, request: ExportRequest) -> Accepted:
    """What was started. Raises OutcomeUnknownError for an answer without the id of an image, and for one that
    is about another request: a proxy or a cache may mix answers up.
    """
    try:
        export = _EXPORT.decode(answer.body).export
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(answer, str(error)) from error
    if not export.image_id.strip():
        raise _unreadable(answer, "the image id is empty")
    if not is_id(export.image_id):
        raise _unreadable(answer, f"{export.image_id!r} is none")
    if export.id and export.id.replace("-", "").lower() != request.volume_id.replace("-", "").lower():
        raise _unreadable(answer, f"it is about volume {export.id!r}")
    if export.image_name and export.image_name.strip() != request.image_name.strip():
        raise _unreadable(answer, f"it is about an image called {export.image_name!r}")
    size_gib = valid_size_gib(export.size)
    return Accepted(image_id=export.image_id, size_gib=size_gib, request_id=answer.request_id)


def _unreadable(answer: Response, why: str) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"answered {answer.status}, but not with the id of its image: {sanitize(why)}",
        method=answer.method,
        url=answer.url,
        status=answer.status,
        request_id=answer.request_id,
    )
