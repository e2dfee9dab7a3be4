"""The action that exports a volume: what is sent, by dialect, and what its acceptance says. Pure."""

from __future__ import annotations

import msgspec

from batchexport.cloud.answers import Answer, is_id, possible_gib
from batchexport.cloud.envelopes import fold
from batchexport.dialect import Dialect, image_name_words
from batchexport.errors import OutcomeUnknownError, RefusedError
from batchexport.model import Accepted, ExportRequest

ACTION = "os-volume_upload_image"


class ExportRecord(msgspec.Struct):
    """What was started, as answered."""

    image_id: str
    id: str | None = None  #: of the volume
    image_name: str | None = None
    size: int | None = None


class ExportAnswer(msgspec.Struct):
    """The answer to the export of a volume."""

    export: ExportRecord = msgspec.field(name=ACTION)


_EXPORT = msgspec.json.Decoder(ExportAnswer, strict=False)  # some clouds send numbers as strings


def export_fields(request: ExportRequest, dialect: Dialect, *, api_version: str) -> dict[str, str | bool]:
    """The fields of an export, those that the dialect takes. Raises RefusedError for a format or name it
    does not take.
    """
    options = request.options
    if fault := dialect.disk_format_fault(options.disk_format):
        raise RefusedError(f"not sent: {fault}", method="POST", code="disk_format")
    if fault := dialect.image_name_fault(request.image_name):
        words = image_name_words(fault, dialect)
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


def accepted(answer: Answer, request: ExportRequest) -> Accepted:
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
    size_gib = possible_gib(export.size)
    return Accepted(image_id=export.image_id, size_gib=size_gib, request_id=answer.request_id)


def _unreadable(answer: Answer, why: str) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"answered {answer.status}, but not with the id of its image: {fold(why)}",
        method=answer.method,
        url=answer.url,
        status=answer.status,
        request_id=answer.request_id,
    )
