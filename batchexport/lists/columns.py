"""The columns of a job list: which header or JSON key names one, and which values it takes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from functools import lru_cache

from batchexport import image_labels


class Column(StrEnum):
    """What a row can say."""

    VOLUME_ID = "volume_id"
    IMAGE_NAME = "image_name"
    VOLUME_NAME = "volume_name"
    DISK_FORMAT = "disk_format"
    CONTAINER_FORMAT = "container_format"
    FORCE = "force"
    IN_USE = "in_use"
    OS_TYPE = "os_type"
    VISIBILITY = "visibility"
    PROTECTED = "protected"
    TIMEOUT = "timeout"
    PRIORITY = "priority"
    DELIVER = "deliver"
    IMAGE_PROPERTIES = "image_properties"
    IMAGE_TAGS = "image_tags"
    CLOUD = "cloud"
    REGION = "region"
    PROJECT = "project"


#: What columns are called that hold one property each, before its key.
PROPERTY_PREFIX = "property:"


class PropertyColumn(str):
    """A column of one property: `property:KEY`."""

    @property
    def key(self) -> str:
        """The key of the property."""
        return self.removeprefix(PROPERTY_PREFIX)


#: All but the three that differ from row to row; in these, most rows of a list agree.
COMMON_COLUMNS = tuple(Column)[3:]

#: What each column means, for the documentation (Markdown).
DESCRIPTIONS: Mapping[Column, str] = {
    Column.VOLUME_ID: "UUID of the volume, with or without hyphens. The only required column.",
    Column.IMAGE_NAME: "Name of the image. Empty: made from `--name-template`.",
    Column.VOLUME_NAME: "Name of the volume: shown in reports, and used for `{volume_name}` in the template.",
    Column.DISK_FORMAT: "Disk format of the image.",
    Column.CONTAINER_FORMAT: "Container format of the image.",
    Column.FORCE: "Sends `force`: exports a volume in use as it is, if the cloud allows it.",
    Column.IN_USE: "What to do if the volume is attached to a server.",
    Column.OS_TYPE: "Operating system on the volume. EVS only.",
    Column.VISIBILITY: "Who can see the image. Cinder only (microversion 3.1).",
    Column.PROTECTED: "Protect the image from deletion. Cinder only (microversion 3.1).",
    Column.TIMEOUT: "Deadline of the export, from its acceptance: `90m`, `9h` or seconds. Past it the row"
    " counts as stalled, and fails once its image no longer changes.",
    Column.PRIORITY: "Whole number: rows with a higher one are exported first. Default: 0.",
    Column.DELIVER: "Where the image goes after the export, in place of `--deliver`: destinations, separated"
    " by blanks, in their order. `none`: nowhere.",
    Column.IMAGE_PROPERTIES: "Properties of the image: `KEY=VALUE`, several with `;`, or a JSON object."
    " A column `property:KEY` holds one of them.",
    Column.IMAGE_TAGS: "Tags of the image, with `;` or `,` between; also called `tags`, but not in lists with"
    " `id`: their tags are the volumes'. Not on EVS clouds.",
    Column.CLOUD: "Entry of clouds.yaml, if not the one given on the command line.",
    Column.REGION: "Region, if not the one given on the command line.",
    Column.PROJECT: "Project (name or id), if not the one given on the command line. With access keys: id.",
}

#: What a report adds to a row, and what each column means (Markdown). A report is a valid list: these
#: columns are known, and not read.
REPORT_DESCRIPTIONS: Mapping[str, str] = {
    "state": "`pending`, `submitting`, `exporting`, `succeeded`, `failed`, `skipped` or `ambiguous`.",
    "image_id": "UUID of the image, once the cloud has accepted the request.",
    "size_gib": "Size of the volume in GiB; empty: unknown.",
    "attempts": "How many times the export was attempted.",
    "reason": "Why the row ended, in the cloud's own words where it gave any.",
    "code": "Code of the reason: ours (see [reason codes](reason-codes.md)) or the cloud's.",
    "http_status": "HTTP status of the answer that ended the row; empty: there was none.",
    "request_id": "The cloud's id of the request, for its support.",
    "started_at": "When the last attempt began (UTC, by the cloud's clock).",
    "accepted_at": "When the cloud accepted the request (UTC).",
    "finished_at": "When the row ended (UTC).",
    "stalled": "`true` while an export is past its deadline and still being watched.",
    "line": "Line of the list; for a JSON array the number of the element.",
    "target": "`cloud/region/project` as the list names them; `default` for what the command line says.",
    "downtime": "When servers were stopped for the volume: name, id, from, to (UTC); several with `; `.",
    "unreleased": "What is held for the volume and not released: a stopped server, a temporary copy.",
    "image_hash": "Hash of the image as `algorithm:digits`, where the cloud gives one.",
    "delivery": "`pending`, `delivering`, `in_doubt`, `delivered` (and verified) or `failed`: the least of"
    " the row's deliveries; empty: the image goes nowhere, or there is none yet.",
    "delivered_to": "What is where now: `destination = image, volume or file`; several with `; `.",
    "delivery_notes": "How each delivery was verified, or why it is not there.",
}
REPORT_COLUMNS = tuple(REPORT_DESCRIPTIONS)

#: What `openstack volume list [--long]` prints beside `ID` and `Name`.
_CLIENT_COLUMNS = ("status", "size", "attached_to", "type", "bootable", "properties")

#: What `discover` prints beside a volume's id.
DISCOVERED_COLUMNS = ("volume_name", "size_gib", "status", "type", "availability_zone", "attached_to")

#: What other tools tell of a volume beside its `id`: known in their lists, and not read. They are the clients
#: of OpenStack, the APIs of Cinder and EVS, openstacksdk and Ansible, Cinder's database and the EVS console.
_TOOL_COLUMNS = frozenset(
    """
    tenant_id migration_status consumes_quota volume_type multiattach device server_id tag attachment_id
    delete_on_termination? blockdevicemapping_uuid links attachments description created_at updated_at
    encrypted metadata replication_status snapshot_id source_volid user_id consistencygroup_id shareable
    volume_image_metadata wwn enterprise_project_id service_type dedicated_storage_id
    dedicated_storage_name iops throughput serial_number snapshot_policy_id cluster_name group_id
    provider_id service_uuid shared_targets volume_type_id tags project_id host location is_bootable
    is_encrypted is_multiattach consistency_group_id extended_replication_status replication_driver_data
    source_volume_id scheduler_hints original_name imageref display_description deleted deleted_at
    ec2_id mountpoint attach_time attach_status scheduled_at launched_at terminated_at provider_location
    provider_auth encryption_key_id previous_status use_quota instance_uuid attached_host
    disk_specifications disk_type disk_attribute function az capacity billing_mode enterprise_project
    """.split()  # noqa: SIM905 - a column of words to a line would be no easier to read
)
#: Keys of extensions of the API, as `os-vol-host-attr:host`.
_EXTENSION = re.compile(r"os[_-][a-z_-]+:[a-z_:-]+")
#: What the tools call a volume's id and name.
_TOOL_IDS = ("id", "disk_id")
_TOOL_NAMES = frozenset({"name", "display_name", "disk_name"})

#: `volume_name` is among those of `discover`, and read.
_IGNORED = frozenset(REPORT_COLUMNS + _CLIENT_COLUMNS + DISCOVERED_COLUMNS) - frozenset(Column)
_MEANINGS: dict[str, Column] = {
    **{column.value: column for column in Column},
    "id": Column.VOLUME_ID,
    "disk_id": Column.VOLUME_ID,
    "__os_type": Column.OS_TYPE,
}
#: A name is taken for a slip of the pen if so much of it is right. With less, `volume_type` would be one of
#: `volume_name`.
_ALIKE = 0.8


#: Statuses that only images and servers have.
_STATUSES_OF_OTHERS = frozenset(
    {
        "active",
        "queued",
        "saving",
        "importing",
        "deactivated",
        "killed",
        "build",
        "shutoff",
        "shelved_offloaded",
    }
)


class UnknownColumnError(ValueError):
    """An unknown column name; the message says what to do about it."""


def plain(name: str) -> str:
    """The name as it is compared: letter case, surrounding blanks, and blanks or hyphens for underscores do
    not count.
    """
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def meaning(name: str, *, beside: Collection[str]) -> Column | PropertyColumn | None:
    """The column that a header or key stands for, or None for one that is known and not read.

    `beside` are all names of the list, `plain`. Where an `id` is among them the list is one that a tool made:
    then its `name` is that of the volume, and what else the tools tell is passed over. In a list
    that a person made an unknown name may be a slip of the pen, and `name` be meant for the image. Raises
    UnknownColumnError.
    """
    word = plain(name)
    made_by_tool = any(each in beside for each in _TOOL_IDS)
    if word == "id" and "volume_id" in beside and "server_id" in beside:
        return None  # of the attachment
    if word in _MEANINGS:
        return _MEANINGS[word]
    if word.startswith(PROPERTY_PREFIX):
        return _property_column(name)
    if word == "tags" and not made_by_tool:
        return Column.IMAGE_TAGS
    if word in _IGNORED:
        return None
    if made_by_tool and word in _TOOL_NAMES:
        return Column.VOLUME_NAME
    if made_by_tool and (word in _TOOL_COLUMNS or _EXTENSION.fullmatch(word)):
        return None
    raise UnknownColumnError(_advice(word))


def _property_column(name: str) -> PropertyColumn:
    key = name.strip()[len(PROPERTY_PREFIX) :].strip()
    try:
        image_labels.checked_property(key, "")
    except ValueError as error:
        raise UnknownColumnError(f"is not a property: {error}") from error
    return PropertyColumn(f"{PROPERTY_PREFIX}{key}")


@lru_cache(maxsize=256)  # most rows of most lists have the same keys
def meanings(names: tuple[str, ...]) -> tuple[Column | PropertyColumn | UnknownColumnError | None, ...]:
    """The `meaning` of each of these names, which stand beside each other; the error of one that has none."""
    beside = frozenset(map(plain, names))

    def of(name: str) -> Column | PropertyColumn | UnknownColumnError | None:
        try:
            return meaning(name, beside=beside)
        except UnknownColumnError as error:
            return error.with_traceback(None)

    return tuple(map(of, names))


def is_status_of_others(status: str) -> bool:
    """Whether it is the status of an image or a server, so that its id is none of a volume."""
    return status.strip().lower() in _STATUSES_OF_OTHERS


def status_fault(status: str) -> str:
    """The problem of a row that belongs to an image or a server."""
    return f"belongs to an image or a server, not a volume: its status is {status.strip().lower()}"


def _advice(word: str) -> str:
    if word in _TOOL_NAMES:
        return "could be the volume's name or the image's: call it volume_name or image_name, or take it out"

    from difflib import get_close_matches  # only a wrong header needs it

    close = get_close_matches(word, _MEANINGS, n=1, cutoff=_ALIKE)
    if close:
        return f"is not known here; did you mean {_MEANINGS[close[0]]}?"
    return f"is not known here; known: {', '.join(Column)}"
