"""Snapshots, and volumes that clients create: at any time, a function of the accepted requests.

Each request carries its outcome from the moment it is accepted::

    accepted_at        ready_at             accepted_at        ends_at
    creating           | available, error   deleting           | gone; available again, error_deleting
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

Kind = Literal["snapshot", "volume"]
#: gone; the back end was busy, and it is available again; the back end failed, and it stays `error_deleting`.
RemovalOutcome = Literal["gone", "busy", "failed"]


class Creation(msgspec.Struct, frozen=True, kw_only=True, tag="creation", tag_field="event"):
    """An accepted request for a snapshot or a volume. Times are seconds since the epoch."""

    kind: Kind
    item_id: str
    name: str | None
    description: str | None = None
    size_gib: int
    metadata: Mapping[str, str] = {}
    volume_id: str | None = None  #: of a snapshot: its volume; of a volume: the one that it is a clone of
    snapshot_id: str | None = None  #: that a volume was made from
    image_metadata: Mapping[str, str] = {}  #: that it has from its source
    accepted_at: float
    ready_at: float
    fails: bool = False
    request_id: str = ""
    made_by: str = "client"


class Change(msgspec.Struct, frozen=True, kw_only=True, tag="change", tag_field="event"):
    """An accepted change of a name, a description or metadata. None = as before."""

    item_id: str
    changed_at: float
    name: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] | None = None  #: all of it
    image_metadata: Mapping[str, str] | None = None  #: all of it


class Removal(msgspec.Struct, frozen=True, kw_only=True, tag="removal", tag_field="event"):
    """An accepted request to delete a snapshot or a volume."""

    item_id: str
    accepted_at: float
    ends_at: float
    outcome: RemovalOutcome = "gone"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot, or what requests have made of a volume, at one moment."""

    creation: Creation | None  #: None = a volume that was there from the start
    status: str | None  #: None = none that a request gave it
    name: str | None
    description: str | None
    metadata: Mapping[str, str]
    image_metadata: Mapping[str, str]
    updated_at: float | None


class Storage:
    """The accepted requests for snapshots and volumes, indexed by what they are about."""

    def __init__(self) -> None:
        self._creations: dict[str, Creation] = {}  # in the order of acceptance
        self._events: dict[str, list[Change | Removal]] = {}
        self._children: dict[str, list[Creation]] = {}  # by the id of what they were made of

    def apply(self, event: Creation | Change | Removal) -> None:
        """Take in one accepted request."""
        if not isinstance(event, Creation):
            self._events.setdefault(event.item_id, []).append(event)
            return
        self._creations[event.item_id] = event
        for parent in filter(None, (event.snapshot_id, event.volume_id)):
            self._children.setdefault(parent, []).append(event)

    def item(self, item_id: str, now: float) -> Item | None:
        """What the requests have made of it by `now`; None = it is not there."""
        creation = self._creations.get(item_id)
        if creation is not None and now < creation.accepted_at:
            return None
        item = _created(creation, now)
        for event in self._events.get(item_id, ()):
            if isinstance(event, Change) and event.changed_at <= now:
                item = _changed(item, event)
            elif isinstance(event, Removal) and event.accepted_at <= now:
                if event.outcome == "gone" and now >= event.ends_at:
                    return None
                item = _removed(item, event, now)
        return item

    def creation(self, item_id: str) -> Creation | None:
        """The request that made it; None = it was there from the start, or never."""
        return self._creations.get(item_id)

    def snapshots(self, now: float) -> Iterator[Item]:
        """Every snapshot, newest first."""
        for creation in reversed(self._creations.values()):
            if creation.kind == "snapshot" and (item := self.item(creation.item_id, now)) is not None:
                yield item

    def snapshots_of(self, volume_id: str, now: float) -> list[Item]:
        """The snapshots of a volume."""
        made = (each for each in self._children.get(volume_id, ()) if each.kind == "snapshot")
        return [item for each in made if (item := self.item(each.item_id, now)) is not None]

    def copied_until(self, item_id: str) -> float:
        """When the last volume that is made of it is ready; 0 = none ever was made."""
        made = (each for each in self._children.get(item_id, ()) if each.kind == "volume")
        return max((each.ready_at for each in made), default=0.0)

    def removals(self, item_id: str) -> int:
        """How many requests to delete it were accepted."""
        return sum(isinstance(event, Removal) for event in self._events.get(item_id, ()))


def _created(creation: Creation | None, now: float) -> Item:
    if creation is None:
        return Item(
            creation=None,
            status=None,
            name=None,
            description=None,
            metadata={},
            image_metadata={},
            updated_at=None,
        )
    status = "error" if creation.fails else "available"
    return Item(
        creation=creation,
        status=status if now >= creation.ready_at else "creating",
        name=creation.name,
        description=creation.description,
        metadata=creation.metadata,
        image_metadata=creation.image_metadata,
        updated_at=creation.ready_at if now >= creation.ready_at else None,
    )


def _changed(item: Item, event: Change) -> Item:
    return msgspec.structs.replace(
        item,
        name=item.name if event.name is None else event.name,
        description=item.description if event.description is None else event.description,
        metadata=item.metadata if event.metadata is None else event.metadata,
        image_metadata=item.image_metadata if event.image_metadata is None else event.image_metadata,
        updated_at=event.changed_at,
    )


def _removed(item: Item, event: Removal, now: float) -> Item:
    if now < event.ends_at:
        return msgspec.structs.replace(item, status="deleting", updated_at=event.accepted_at)
    status = "error_deleting" if event.outcome == "failed" else "available"
    return msgspec.structs.replace(item, status=status, updated_at=event.ends_at)
