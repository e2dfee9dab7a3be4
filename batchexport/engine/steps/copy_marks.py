"""Names and marks of the snapshots and temporary volumes that we create, and what statuses mean. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from batchexport.engine.resources.lifecycle import Condition, Seen
from batchexport.model import ResourceType, Snapshot, Volume

#: Metadata of what we create: the run is what lists are filtered by.
RUN, ROW, ATTEMPT, MARK = "batchexport_run", "batchexport_row", "batchexport_attempt", "batchexport_name"
#: EVS takes names of 64 characters; those of its own backups begin with `autobk_snapshot_`.
PREFIXES = {
    ResourceType.SNAPSHOT: "batchexport-snapshot-",
    ResourceType.VOLUME: "batchexport-volume-",
}
#: In these somebody or something else works on it, and a request to delete it would be refused.
BUSY = frozenset(
    {
        "creating",
        "downloading",
        "deleting",
        "uploading",
        "backing-up",
        "restoring",
        "restoring-backup",
        "extending",
        "retyping",
        "maintenance",
        "detaching",
        "unmanaging",
    }
)
#: In these it cannot be deleted by itself any more, or somebody uses it: said, and left alone.
STUCK = frozenset({"error_deleting", "in-use", "attaching", "reserved", "awaiting-transfer"})


class CopyName(msgspec.Struct, frozen=True, kw_only=True):
    """What the name of a copy holds: enough to tell that it is ours, and whose."""

    kind: ResourceType
    run_id: str
    job_id: int
    attempt: int
    token: str  #: of what was planned at one moment: no name is used for a second request

    def __str__(self) -> str:
        prefix = PREFIXES[self.kind]
        return f"{prefix}{self.run_id[:16]}-{self.job_id}-{self.attempt}-{self.token}"

    @property
    def metadata(self) -> dict[str, str]:
        """What it carries, where the cloud keeps metadata."""
        return {RUN: self.run_id, ROW: str(self.job_id), ATTEMPT: str(self.attempt), MARK: str(self)}


def kind_of(resource_id: str) -> str:
    """The kind of a copy by its name."""
    is_snapshot = resource_id.startswith(PREFIXES[ResourceType.SNAPSHOT])
    return ResourceType.SNAPSHOT if is_snapshot else ResourceType.VOLUME


def name_of(resource_id: str) -> str:
    """The name in the cloud: a duplicate has the one of its first."""
    return resource_id.partition(".")[0]


def job_of(resource_id: str) -> int:
    """The job that a copy was made for."""
    return int(name_of(resource_id).rsplit("-", 3)[1])


def attempt_of(resource_id: str) -> int:
    """The attempt that a copy was made for."""
    return int(name_of(resource_id).rsplit("-", 3)[2])


def burst_of(resource_id: str) -> str:
    """What the copies have in common that were planned together, to be of one moment."""
    return name_of(resource_id).rsplit("-", 1)[1]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot or volume of ours, as the cloud shows it."""

    cloud_id: str
    name: str
    status: str
    created_at: float | None = None


def found_of(item: Snapshot | Volume, run_id: str) -> Found | None:
    """What we need to know of it; None = it is not proved to be of this run: by its name and its mark."""
    if isinstance(item, Snapshot):
        cloud_id, metadata, created_at = item.snapshot_id, item.metadata, item.created_at
        prefix = PREFIXES[ResourceType.SNAPSHOT]
    else:
        cloud_id, created_at, prefix = item.volume_id, None, PREFIXES[ResourceType.VOLUME]
        metadata = {} if item.details is None else item.details.metadata
    name = item.name or ""
    if not is_ours(name, metadata, prefix, run_id):
        return None
    return Found(cloud_id=cloud_id, name=name, status=item.status, created_at=created_at)


def is_ours(name: str, metadata: Mapping[str, str], prefix: str, run_id: str) -> bool:
    """Whether name and mark prove that this run made it."""
    return (
        name.startswith(f"{prefix}{run_id[:16]}-")
        and metadata.get(RUN) == run_id
        and metadata.get(MARK) == name
    )


def seen_of(status: str) -> Seen:
    """What a status means for a copy of ours."""
    if status in STUCK:
        return Seen(Condition.UNUSABLE, status, is_busy=True, is_stuck=True)
    if status == "available":
        return Seen(Condition.HELD, status)
    if status == "uploading":
        return Seen(Condition.HELD, status, is_busy=True)
    if status in BUSY:
        return Seen(Condition.CHANGING, status, is_busy=True)
    return Seen(Condition.UNUSABLE, status)


def not_ours(name: str | None) -> Seen:
    """What a record means that has another name than ours: never used, and never deleted."""
    return Seen(Condition.UNUSABLE, f"called {name!r}, which is not ours", is_busy=True, is_stuck=True)
