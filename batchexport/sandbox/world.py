"""What the cloud shows at a given time: a pure function of the accepted requests and of that time.

Nothing here runs or waits. An export carries its whole future from the moment it is accepted::

    accepted_at      saving_at          ends_at            free_at
    image   queued   |      saving      |  active, or gone (404) when it failed
    volume  uploading                                      | the status it had before

As in Cinder, the image is settled a little before its volume is free, and a failed export leaves the volume
as it was. Deleting an image that is still being written makes its export fail there and then.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from batchexport.sandbox.outcome import NEVER
from batchexport.sandbox.servers import Power, Servers
from batchexport.sandbox.settings import SandboxServer, SandboxVolume
from batchexport.sandbox.storage import Change, Creation, Item, Removal, Storage


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """The data of an image that a client made and uploads itself. None = not known yet."""

    status: str = "queued"
    updated_at: float
    size: int | None = None
    md5: str | None = None
    sha512: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    tags: Sequence[str] = ()


class Export(msgspec.Struct, frozen=True, kw_only=True, tag="export", tag_field="event"):
    """An accepted export and its outcome. Times are seconds since the epoch."""

    volume_id: str
    volume_name: str
    size_gib: int
    status_before: str
    image_id: str
    image_name: str
    disk_format: str
    container_format: str
    visibility: str
    protected: bool
    os_type: str | None
    request_id: str
    accepted_at: float
    saving_at: float
    ends_at: float
    free_at: float
    fails: bool
    deleted_at: float | None = None  #: when the finished image was deleted; never set in the journal
    owner: str | None = None  #: the project that the image belongs to; None = ours
    made_by: str = "client"  #: or "somebody", another user that the weather plays
    finishing_at: float | None = None  #: when its bytes were there, where it turns active long after
    finishing_status: str = "importing"
    hidden_from: float | None = None  #: the image cannot be found from then
    hidden_until: float = 0.0  #: until then
    bytes_share: float = 1.0  #: how many of its bytes the image has
    bytes_per_gib: int = 0  #: what the image's file has for each GiB of the volume; 0 = it holds no data
    properties: Mapping[str, str] = {}  #: from the image metadata of its volume, and set by clients
    tags: tuple[str, ...] = ()  #: set by clients
    members: Mapping[str, str] = {}  #: projects that the image is shared with, and whether they accepted
    data: Data | None = None  #: of an image that was not made of a volume, whose id is empty then


class ImageChange(msgspec.Struct, frozen=True, kw_only=True, tag="image_change", tag_field="event"):
    """A change of an image by a client. None = not changed."""

    image_id: str
    changed_at: float
    data: Data | None = None
    name: str | None = None
    visibility: str | None = None
    protected: bool | None = None
    properties: Mapping[str, str] | None = None
    tags: tuple[str, ...] | None = None
    members: Mapping[str, str] | None = None


class Deletion(msgspec.Struct, frozen=True, kw_only=True, tag="deletion", tag_field="event"):
    """An accepted request to delete an image."""

    image_id: str
    deleted_at: float
    made_by: str = "client"


class Request(msgspec.Struct, frozen=True, kw_only=True, tag="request", tag_field="event"):
    """A request for an export and its answer: kept for counting, without effect on the world."""

    volume_id: str
    asked_at: float
    status: int  #: 0 = the connection broke
    sent_by: str = "client"


Event = Export | ImageChange | Deletion | Power | Request | Creation | Change | Removal


def image_status(export: Export, now: float) -> str | None:
    """The status of the image, or None where there is no image (any more)."""
    if now < export.accepted_at or _is_hidden(export, now):
        return None
    if export.data is not None:
        is_gone = export.deleted_at is not None and now >= export.deleted_at
        return None if is_gone else export.data.status
    if now < export.ends_at:
        if export.finishing_at is not None and now >= export.finishing_at:
            return export.finishing_status
        return "saving" if now >= export.saving_at else "queued"
    if export.fails or (export.deleted_at is not None and now >= export.deleted_at):
        return None
    return "active"


def _is_hidden(export: Export, now: float) -> bool:
    return export.hidden_from is not None and export.hidden_from <= now < export.hidden_until


def image_updated_at(export: Export, now: float) -> float:
    """When the image last changed its status."""
    if export.data is not None:
        return export.data.updated_at
    if now >= export.ends_at:
        return export.ends_at
    return export.saving_at if now >= export.saving_at else export.accepted_at


def without_image(export: Export, deleted_at: float) -> Export:
    """The export after its image was deleted: failed if the image was still being written."""
    if export.data is not None or deleted_at >= export.ends_at:
        return replace(export, deleted_at=deleted_at)
    # Nobody frees a volume whose service died over it; that of a late image is free already.
    free_at = export.free_at
    if deleted_at < free_at < NEVER:
        free_at = deleted_at + max(0.0, export.free_at - export.ends_at)
    return replace(export, fails=True, ends_at=deleted_at, free_at=free_at)


def synthetic_volume(volume_id: str) -> SandboxVolume | None:
    """The volume that this id always stands for, or None if it is not a UUID in its usual spelling."""
    try:
        if str(uuid.UUID(volume_id)) != volume_id:
            return None
    except ValueError:
        return None
    size_gib = 10 + int.from_bytes(hashlib.sha256(volume_id.encode()).digest()[:4]) % 491
    return SandboxVolume(volume_id=volume_id, name=f"volume-{volume_id[:8]}", size_gib=size_gib)


class VolumeView(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as it is at one moment. `updated_at` None = never changed."""

    volume: SandboxVolume
    status: str
    updated_at: float | None
    item: Item  #: what requests have made of it
    server_ids: tuple[str, ...] = ()  #: servers it is attached to


class ImageView(msgspec.Struct, frozen=True, kw_only=True):
    """An image as it is at one moment."""

    export: Export
    status: str
    updated_at: float


class World:
    """The accepted requests, indexed for questions about any moment."""

    def __init__(
        self,
        volumes: Iterable[SandboxVolume] = (),
        *,
        servers: Iterable[SandboxServer] = (),
        synthetic_volumes: bool = True,
    ) -> None:
        self.servers = Servers(servers)
        self.storage = Storage()
        self._volumes = {volume.volume_id: volume for volume in volumes}
        self._synthetic_volumes = synthetic_volumes
        self._exports: list[Export] = []  # in the order of acceptance, which is the order of `created_at`
        self._place_of_image: dict[str, int] = {}
        self._places_of_volume: dict[str, list[int]] = {}
        for volume_id in self.servers.volume_ids:  # those that are not in the settings
            if volume_id not in self._volumes and (volume := synthetic_volume(volume_id)):
                self._volumes[volume_id] = volume

    def apply(self, event: Event) -> None:
        """Take in one accepted request. A deletion of an unknown image changes nothing."""
        if isinstance(event, Power):
            self.servers.apply(event)
        elif isinstance(event, Request):
            pass
        elif isinstance(event, Creation | Change | Removal):
            self.storage.apply(event)
            if isinstance(event, Creation) and event.kind == "volume":
                self._volumes[event.item_id] = SandboxVolume(
                    volume_id=event.item_id, name=event.name or "", size_gib=event.size_gib
                )
        elif isinstance(event, Export):
            place = len(self._exports)
            self._exports.append(event)
            self._place_of_image[event.image_id] = place
            if event.data is not None:
                return
            self._places_of_volume.setdefault(event.volume_id, []).append(place)
            self._volumes.setdefault(event.volume_id, _volume_of(event))
        elif (found := self._place_of_image.get(event.image_id)) is None:
            pass
        elif isinstance(event, ImageChange):
            self._exports[found] = _changed(self._exports[found], event)
        else:
            self._exports[found] = without_image(self._exports[found], event.deleted_at)

    def volume(self, volume_id: str, now: float) -> VolumeView | None:
        """The volume at `now`, or None if there is none of this id."""
        volume = self._volumes.get(volume_id)
        if volume is None and self._synthetic_volumes:
            volume = synthetic_volume(volume_id)
        return None if volume is None else self._view_of_volume(volume, now)

    def volumes(self, now: float) -> Iterator[VolumeView]:
        """Every volume given at the start or exported since, newest first."""
        views = (self._view_of_volume(volume, now) for volume in reversed(self._volumes.values()))
        return (view for view in views if view is not None)

    def was_taken(self, image_id: str) -> bool:
        """Whether there ever was an image of this id."""
        return image_id in self._place_of_image

    def image(self, image_id: str, now: float) -> ImageView | None:
        """The image at `now`, or None if there is none of this id."""
        place = self._place_of_image.get(image_id)
        return None if place is None else _view_of_image(self._exports[place], now)

    def images(
        self, now: float, *, newest_first: bool = True, after: str | None = None
    ) -> Iterator[ImageView]:
        """The images in the order of their creation, from behind the image `after`, which has to exist."""
        step = -1 if newest_first else 1
        start = len(self._exports) - 1 if newest_first else 0
        if after is not None:
            start = self._place_of_image[after] + step
        for place in range(start, -1 if newest_first else len(self._exports), step):
            view = _view_of_image(self._exports[place], now)
            if view is not None:
                yield view

    def failed_exports(self, now: float) -> Iterator[Export]:
        """The exports that have failed and whose volumes are free again, newest first."""
        return (export for export in reversed(self._exports) if export.fails and now >= export.free_at)

    @property
    def export_count(self) -> int:
        """How many exports were ever accepted."""
        return len(self._exports)

    def exports_since(self, count: int) -> list[Export]:
        """Those accepted after the first `count`."""
        return self._exports[count:]

    def exports_of(self, volume_id: str) -> int:
        """How many exports of the volume were ever accepted."""
        return len(self._places_of_volume.get(volume_id, ()))

    def exports_per_volume(self) -> dict[str, int]:
        """How many exports were ever accepted, for each volume that had any."""
        return {volume_id: len(places) for volume_id, places in self._places_of_volume.items()}

    def _view_of_volume(self, volume: SandboxVolume, now: float) -> VolumeView | None:
        if (item := self.storage.item(volume.volume_id, now)) is None:
            return None
        if item.name is not None:
            volume = replace(volume, name=item.name)
        server_ids = self.servers.holders(volume.volume_id)
        status = item.status or ("in-use" if server_ids else volume.status)
        updated_at = item.updated_at
        for place in reversed(self._places_of_volume.get(volume.volume_id, ())):
            latest = self._exports[place]
            if latest.accepted_at <= now:  # a replica may be asked for an earlier time
                updated_at = max(latest.free_at, updated_at or 0.0)
                if now < latest.free_at:
                    status, updated_at = "uploading", latest.accepted_at
                break
        return VolumeView(
            volume=volume, status=status, updated_at=updated_at, item=item, server_ids=server_ids
        )


def _volume_of(export: Export) -> SandboxVolume:
    return SandboxVolume(
        volume_id=export.volume_id,
        name=export.volume_name,
        size_gib=export.size_gib,
        status=export.status_before,
    )


def _changed(export: Export, change: ImageChange) -> Export:
    changed = {
        name: value
        for name in ("data", "visibility", "protected", "properties", "tags", "members")
        if (value := getattr(change, name)) is not None
    }
    if change.name is not None:
        changed["image_name"] = change.name
    return replace(export, **changed)


def _view_of_image(export: Export, now: float) -> ImageView | None:
    status = image_status(export, now)
    if status is None:
        return None
    return ImageView(export=export, status=status, updated_at=image_updated_at(export, now))
