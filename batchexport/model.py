"""Records and states. Pure: no clock, no I/O.

`status` is the cloud's word, `state` is ours. Times are seconds since the epoch, UTC; `server_…` times are by
the cloud's clock. Sizes are GiB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec.structs import replace


class JobState(StrEnum):
    """Where one row of the list stands."""

    PENDING = "pending"  #: to be submitted, at once or not before `next_at`
    SUBMITTING = "submitting"  #: the intent is on disk: the request may have been sent
    EXPORTING = "exporting"  #: accepted by the cloud, the image id is known
    SUCCEEDED = "succeeded"  #: the image is active
    FAILED = "failed"  #: no image, with the reason
    SKIPPED = "skipped"  #: left out on purpose, with the reason
    AMBIGUOUS = "ambiguous"  #: several images could be ours: nothing more is sent by itself


class InUse(StrEnum):
    """What to do with a volume that is attached to a server."""

    FAIL = "fail"  #: the row fails, with a word on what to do
    SKIP = "skip"  #: the row is skipped
    FORCE = "force"  #: export it as it is: the cloud may refuse, and the data may be torn
    STOP = "stop"  #: stop its servers, export it, and start them again
    SNAPSHOT = "snapshot"  #: export a temporary copy of it, made by way of a clone or a snapshot


class ServerState(StrEnum):
    """Where a server of the list's volumes stands with us, in the words of reports and tables."""

    IDLE = "idle"  #: nothing was done to it
    STOPPING = "stopping"  #: the intent is on disk: it may have been asked to stop
    STOPPED = "stopped"  #: stopped by us, and to be started again
    STARTING = "starting"  #: the intent is on disk: it may have been asked to start
    RESTORED = "restored"  #: started again, or found so
    LOST = "lost"  #: the cloud knows it no longer


class ResourceState(StrEnum):
    """Where a resource stands. What is acquiring, held or releasing is outstanding: ours to release."""

    IDLE = "idle"  #: nothing was done to it
    ACQUIRING = "acquiring"  #: the intent is on disk: its acquisition may have been requested
    HELD = "held"  #: it is as the jobs need it, and to be released
    RELEASING = "releasing"  #: the intent is on disk: its release may have been requested
    RELEASED = "released"  #: as it was before us, or found so
    LOST = "lost"  #: the cloud knows it no longer


class ResourceType(StrEnum):
    """What a resource is, as the store keeps it."""

    SERVER = "server"  #: one that is stopped
    SNAPSHOT = "snapshot"
    VOLUME = "volume"  #: a temporary one


class ResourceRef(NamedTuple):
    """A resource of a target. What we create has an id that we chose before the cloud gave it one."""

    kind: str  #: `ResourceType`, or that of a test
    resource_id: str


class ExportOrder(StrEnum):
    """Which rows of a target are exported first."""

    SIZE = "size"  #: the largest volume; those of unknown size come last
    LIST = "list"  #: as the list has them
    PRIORITY = "priority"  #: the highest priority, and among equals the largest volume


#: States in which nothing more happens by itself.
FINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.SKIPPED, JobState.AMBIGUOUS})


#: A volume in one of these is on its way to another status: worth another try later.
PASSING_STATUSES = frozenset(
    {
        "attaching",
        "awaiting-transfer",
        "backing-up",
        "creating",
        "detaching",
        "downloading",
        "extending",
        "maintenance",
        "reserved",
        "restoring-backup",
        "retyping",
        "rollbacking",
    }
)


class TargetKey(NamedTuple):
    """One (cloud, region, project) as the list names it; None = what the command line or environment says."""

    cloud: str | None = None
    region: str | None = None
    project: str | None = None

    def __str__(self) -> str:
        return "/".join(part or "default" for part in self) if any(self) else "default"

    @property
    def label(self) -> str:
        """What people call it: only what the list names."""
        named = zip(("cloud", "region", "project"), self, strict=True)
        return ", ".join(f"{what} {name}" for what, name in named if name) or "default cloud"


class ImageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of an image. None = not said here; the next layer (flags, job file, dialect) decides."""

    disk_format: str | None = None
    container_format: str | None = None
    force: bool | None = None
    in_use: InUse | None = None  #: what becomes of the row while its volume is attached to a server
    os_type: str | None = None
    visibility: str | None = None
    protected: bool | None = None
    priority: int | None = None  #: of the row: higher ones are exported first; None = 0
    timeout_s: float | None = None  #: deadline after which an export counts as stalled, from its acceptance
    deliver: tuple[str, ...] | None = None  #: where the image goes after the export; empty = nowhere
    properties: tuple[tuple[str, str], ...] | None = None  #: to be set on the image
    tags: tuple[str, ...] | None = None  #: to be set on the image
    provenance: bool | None = None  #: say on the image what it was made of; None = where labels are set

    @property
    def has_labels(self) -> bool:
        """Whether anything is to be set on the image."""
        return bool(self.properties or self.tags or self.provenance)

    def over(self, below: ImageOptions) -> ImageOptions:
        """These options, with `below` filling what is None here. Properties and tags of both are set."""
        if self is NO_OPTIONS or self == NO_OPTIONS:  # most rows say nothing: a glance is enough for them
            return below
        mixed = {
            name: getattr(below, name) if (mine := getattr(self, name)) is None else mine
            for name in self.__struct_fields__
        }
        if self.properties and below.properties:
            mixed["properties"] = tuple((dict(below.properties) | dict(self.properties)).items())
        if self.tags and below.tags:
            mixed["tags"] = tuple(dict.fromkeys(below.tags + self.tags))
        return ImageOptions(**mixed)


NO_OPTIONS = ImageOptions()


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """One checked row of a job list, before it has a place in a state file."""

    line: int  #: line of the file where the row starts, from 1; for JSON arrays the number of the element
    volume_id: str  #: canonical: lower case, with hyphens
    image_name: str | None  #: None = made from the name template on load
    target: TargetKey
    options: ImageOptions
    volume_name: str | None = None  #: for the name template; empty: it has none; None: the list says nothing


class JobRows(msgspec.Struct, frozen=True, kw_only=True):
    """Checked rows of a job list, one on each line, which share target and options.

    A long list is looked at column by column: row by row, checking takes more than twice as long.
    """

    first_line: int
    volume_ids: Sequence[str]
    image_names: Sequence[str] | None  #: None = all are made from the name template on load
    target: TargetKey
    options: ImageOptions
    volume_names: Sequence[str] | None = None  #: as `JobRow.volume_name`

    def __len__(self) -> int:
        return len(self.volume_ids)

    def __iter__(self) -> Iterator[JobRow]:
        for place, volume_id in enumerate(self.volume_ids):
            yield JobRow(
                line=self.first_line + place,
                volume_id=volume_id,
                image_name=None if self.image_names is None else self.image_names[place],
                target=self.target,
                options=self.options,
                volume_name=None if self.volume_names is None else self.volume_names[place],
            )


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One row as the engine works on it."""

    job_id: int
    volume_id: str
    image_name: str
    options: ImageOptions
    attempt: int = 0  #: number of the attempt under way or last made, from 1; 0 = never tried
    attempts_before: int = 0  #: of these, the ones before `retry` was called: they no longer count
    size_gib: int | None = None
    intent_at: float | None = None  #: server time of the intent of the attempt under way
    first_intent_at: float | None = None  #: of the first attempt: no image of ours is older
    image_id: str | None = None
    request_id: str | None = None  #: of the accepted request
    accepted_at: float | None = None
    deadline_at: float | None = None  #: after this an export is stalled; it is watched while it moves

    def taken(
        self, accepted: Accepted, *, size_gib: int | None, accepted_at: float, deadline_at: float
    ) -> Job:
        """This job, once the cloud took it."""
        return replace(
            self,
            size_gib=size_gib,
            image_id=accepted.image_id,
            request_id=accepted.request_id,
            accepted_at=accepted_at,
            deadline_at=deadline_at,
        )


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """Why an attempt ended, in words that outlive the run: one line of the audit trail."""

    reason: str  #: one line; the cloud's own words where it gave some
    code: str | None = None  #: the cloud's error code
    status: int | None = None  #: HTTP status, None where no answer came
    request_id: str | None = None
    image_hash: str | None = None  #: of the image that came of it, as `ImageDetails.hash`


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What `upload_volume_to_image` sends: every choice made, nothing left to the cloud's defaults."""

    volume_id: str
    image_name: str
    options: ImageOptions
    image_id: str | None = None  #: what the volume says already that its image is to have; None = any


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud's answer 202: the image record exists, the copy has begun."""

    image_id: str
    size_gib: int | None
    request_id: str | None


class VolumeDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What only the long record of a volume tells."""

    encrypted: bool = False
    volume_type: str | None = None
    availability_zone: str | None = None
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    image_metadata: Mapping[str, str] = msgspec.field(default_factory=dict)  #: of the image it was made from
    snapshot_id: str | None = None  #: that it was made from
    source_volume_id: str | None = None  #: that it is a clone of


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as the block storage service lists it. Short lists leave all but the first two unknown."""

    volume_id: str
    status: str  #: the cloud's word, lower case; unknown words are possible
    size_gib: int | None = None
    name: str | None = None
    server_ids: tuple[str, ...] = ()  #: servers it is attached to
    details: VolumeDetails | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot as the block storage service lists it."""

    snapshot_id: str
    status: str  #: the cloud's word, lower case: `available`, `error_deleting`; unknown words are possible
    volume_id: str | None = None  #: of which it is; None = not told
    name: str | None = None
    size_gib: int | None = None
    created_at: float | None = None  #: by the block storage service; None = not told
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    in_group: bool = False  #: of a group snapshot: it cannot be deleted alone


class SnapshotRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot to make, of a volume that may be in use."""

    volume_id: str
    name: str  #: ASCII, 64 characters at most
    description: str  #: ASCII, 85 characters at most
    metadata: Mapping[str, str]


class VolumeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A volume to make from a snapshot, or as a clone of a volume that may be in use."""

    name: str  #: ASCII, 64 characters at most
    description: str  #: ASCII, 85 characters at most
    metadata: Mapping[str, str]
    snapshot_id: str | None = None  #: either this …
    source_volume_id: str | None = None  #: … or this …
    image_id: str | None = None  #: … or this, which needs a size
    #: Of the volume that it is a copy of. Cinder takes them from there and is sent none; EVS wants them.
    size_gib: int | None = None
    volume_type: str | None = None
    availability_zone: str | None = None


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server as the compute service tells of it."""

    server_id: str
    status: str  #: the cloud's word, lower case: `active`, `shutoff`; unknown words are possible
    name: str | None = None
    task: str | None = None  #: what the cloud is doing to it now, `powering-off`; None = nothing, or not told
    volume_ids: tuple[str, ...] | None = None  #: volumes attached to it; None = not told
    exists: bool = True  #: False: asked for it by its id, the compute service answered that there is none
    updated_at: float | None = None  #: when its record last changed, by the compute service; None = not told


class ImageDetails(NamedTuple):
    """What an image holds, as far as its cloud tells. A tuple: one is made for every image of a page."""

    disk_format: str | None = None
    container_format: str | None = None
    min_disk_gib: int | None = None
    virtual_bytes: int | None = None  #: what the image unpacks to
    hash: str | None = None  #: algorithm and hex digits: `sha512:9f86…`
    protected: bool | None = None  #: the cloud refuses to delete it


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image as the image service lists it."""

    image_id: str
    name: str
    status: str  #: the cloud's word, lower case; unknown words are possible
    created_at: float | None = None  #: server time, whole seconds
    updated_at: float | None = None  #: server time, whole seconds
    size_bytes: int | None = None
    details: ImageDetails | None = None


class ImageQuota(msgspec.Struct, frozen=True, kw_only=True):
    """How many images a project may have, and has."""

    allowed: int
    used: int

    @property
    def left(self) -> int:
        """How many more may be made."""
        return max(0, self.allowed - self.used)


class QuotaUse(msgspec.Struct, frozen=True):
    """One quota of block storage, and what is used or reserved of it."""

    allowed: int  #: -1 = unlimited
    used: int = 0

    @property
    def left(self) -> int | None:
        """How much more may be used; None = unlimited."""
        return None if self.allowed < 0 else max(0, self.allowed - self.used)


class StorageQuota(msgspec.Struct, frozen=True, kw_only=True):
    """The quotas of a project for volumes, snapshots and their GiB together.

    Clouds limit each volume type as well: those are named `snapshots_SSD`, `gigabytes_SSD`. A quota that is
    not among them was not told.
    """

    quotas: Mapping[str, QuotaUse]

    def left(self, name: str, volume_type: str | None = None) -> int | None:
        """How many more `volumes`, `snapshots` or `gigabytes`; None = unlimited, or not told."""
        names = (name, f"{name}_{volume_type}")
        known = [self.quotas[each].left for each in names if each in self.quotas]
        return min((each for each in known if each is not None), default=None)
