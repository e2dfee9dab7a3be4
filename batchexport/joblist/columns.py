"""The columns of a job list: what a header or a JSON key means, and what to say of one that means nothing."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from enum import StrEnum


class Column(StrEnum):
    """What a row can say."""

    VOLUME_ID = "volume_id"
    IMAGE_NAME = "image_name"
    DISK_FORMAT = "disk_format"
    CONTAINER_FORMAT = "container_format"
    FORCE = "force"
    IN_USE = "in_use"
    OS_TYPE = "os_type"
    VISIBILITY = "visibility"
    PROTECTED = "protected"
    TIMEOUT = "timeout"
    CLOUD = "cloud"
    REGION = "region"
    PROJECT = "project"


#: All but the two that differ from row to row: most rows of a list say the same in these.
COMMON_COLUMNS = tuple(Column)[2:]

#: What a report adds to a row. A report is a valid list: these columns are known, and not read.
REPORT_COLUMNS = (
    "state",
    "image_id",
    "size_gib",
    "attempts",
    "reason",
    "code",
    "http_status",
    "request_id",
    "started_at",
    "accepted_at",
    "finished_at",
    "stalled",
    "line",
    "target",
    "image_hash",
)

#: What `openstack volume list [--long]` prints beside `ID` and `Name`.
_CLIENT_COLUMNS = ("status", "size", "attached_to", "type", "bootable", "properties")

#: What `discover` tells of a volume beside its id.
DISCOVERED_COLUMNS = ("volume_name", "size_gib", "status", "type", "availability_zone", "attached_to")

_IGNORED = frozenset(REPORT_COLUMNS + _CLIENT_COLUMNS + DISCOVERED_COLUMNS)
_MEANINGS: dict[str, Column] = {
    **{column.value: column for column in Column},
    "id": Column.VOLUME_ID,
    "__os_type": Column.OS_TYPE,
}


class UnknownColumnError(ValueError):
    """A name that no column has; the text says what to do about it."""


def meaning(name: str, *, beside: Collection[str]) -> Column | None:
    """The column that a header or key stands for, or None for one that is known and not read.

    Letter case, surrounding blanks, and blanks or hyphens for underscores do not count. `Name` is the name
    of the volume where it stands beside an `ID`, as the openstack client writes them; alone it could as well
    be meant for the image, so it is refused. Raises UnknownColumnError.
    """
    if name in _MEANINGS:
        return _MEANINGS[name]
    plain = name.strip().lower().replace(" ", "_").replace("-", "_")
    if plain in _IGNORED or (plain == "name" and "ID" in beside):
        return None
    try:
        return _MEANINGS[plain]
    except KeyError:
        raise UnknownColumnError(_advice(plain)) from None


def _advice(plain: str) -> str:
    if plain == "name":
        return "could be the volume's name or the image's: call it image_name, or take it out"
    close = get_close_matches(plain, _MEANINGS, n=1)
    if close:
        return f"is not known here; did you mean {_MEANINGS[close[0]]}?"
    return f"is not known here; known: {', '.join(Column)}"
