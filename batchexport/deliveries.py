"""Deliveries: where the image of a row is to go after its export, and the changes that one goes through.

::

    pending --> delivering --> delivered
       ^            |   ^
       |            v   |
       +-------- in_doubt        any but delivered --> failed --> pending, by the next command
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from enum import StrEnum

import msgspec

#: Ids of what we make at destinations are made from it: never change it.
_NAMESPACE = uuid.UUID("3c1f4dd2-52a5-4f5e-9a0b-7a51d8c0a7ee")


class DeliveryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Where the images of a run go, and what becomes of them then."""

    destinations: tuple[str, ...] = ()  #: of rows that say nothing, in their order
    drop_source: bool = False  #: delete the image in its own cloud once everything is delivered

    def of(self, own: tuple[str, ...] | None) -> tuple[str, ...]:
        """The destinations of a row; `own` are those that it names, None = it says nothing."""
        return self.destinations if own is None else own


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"  #: nothing is under way
    DELIVERING = "delivering"  #: something may have been made at the destination
    IN_DOUBT = "in_doubt"  #: a request got no answer: it is looked up before anything else
    DELIVERED = "delivered"  #: there, and verified
    FAILED = "failed"  #: will not be tried again by itself


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One image on its way to one destination. Times are seconds since the epoch by our clock."""

    delivery_id: int
    job_id: int
    line: int  #: of the row in the list
    volume_id: str
    size_gib: int | None = None  #: of the volume
    image_id: str  #: what is delivered
    image_name: str
    position: int  #: in the ordered list of the row's deliveries, from 1
    destination: str  #: as the user wrote it: `cloud:prod-west`
    state: DeliveryState
    attempt: int  #: tries so far
    generation: int  #: what was made at the destination before, and given up
    result_id: str | None = None  #: the image, the volume, the project or the file there
    size_bytes: int | None = None
    image_hash: str | None = None  #: algorithm and digits: `sha512:9f86…`
    verified_by: str | None = None  #: what proved it
    reason: str | None = None  #: why it failed, or what it waits for
    next_at: float = 0.0  #: not tried again before
    started_at: float | None = None
    ended_at: float | None = None

    def as_delivered(self) -> Delivered:
        """What proved that it is there; only of one that is delivered."""
        return Delivered(
            delivery_id=self.delivery_id,
            result_id=self.result_id or "",
            size_bytes=self.size_bytes,
            image_hash=self.image_hash,
            verified_by=self.verified_by or "",
            at_s=self.ended_at or 0.0,
        )

    def made_id(self, run_id: str, generation: int | None = None) -> str:
        """The id of what this delivery makes: the same one each time, and no other delivery's.

        With another generation, that of what was given up, or comes next.
        """
        turn = self.generation if generation is None else generation
        parts = (run_id, str(self.job_id), self.image_id, self.destination, str(turn))
        return str(uuid.uuid5(_NAMESPACE, "\n".join(parts)))

    def marker(self, run_id: str) -> str:
        """What everything bears that this delivery makes, whatever its generation."""
        return uuid.uuid5(
            _NAMESPACE, "\n".join((run_id, str(self.job_id), self.image_id, self.destination))
        ).hex


#: States in which nothing more happens by itself.
DELIVERY_ENDS = frozenset({DeliveryState.DELIVERED, DeliveryState.FAILED})


class DeliverableRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that has its image, and how far its deliveries are."""

    job_id: int
    image_id: str
    destinations: tuple[str, ...]  #: in their order
    states: Mapping[str, DeliveryState]  #: by destination; those that nobody planned are pending
    is_dropped: bool = False  #: the source image was deleted, or was gone

    @property
    def is_delivered(self) -> bool:
        """Whether the image is everywhere it is to go."""
        return all(state is DeliveryState.DELIVERED for state in self.states.values())

    @property
    def open_destinations(self) -> list[str]:
        """Where a run goes on delivering it to."""
        return [each for each, state in self.states.items() if state not in DELIVERY_ENDS]

    @property
    def is_open(self) -> bool:
        """Whether a run goes on with any of its deliveries."""
        return bool(self.open_destinations)

    @property
    def can_be_dropped(self) -> bool:
        """Whether the source image was only a vehicle, and has done its work."""
        shared = any(each.startswith(SHARED) for each in self.destinations)
        return bool(self.destinations) and not shared and self.is_delivered


#: What a destination begins with that uses the source image itself.
SHARED = "project:"


def streams_to(destination: str) -> bool:
    """Whether the data of images passes through this machine on its way there."""
    return not destination.startswith((SHARED, "volume:"))


class DeliveryCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How far the deliveries of a run are, those of rows that have no image yet left out."""

    deliveries: Mapping[DeliveryState, int] = msgspec.field(default_factory=dict)  #: how many are in each
    bytes_delivered: int = 0
    rows_undelivered: int = 0  #: exported, and not everywhere they are to go
    rows_open: int = 0  #: of these, those of which a run goes on with a delivery
    undropped: int = 0  #: source images that are to be deleted, and are not

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.deliveries.values())

    @property
    def failed(self) -> int:
        """Those that will not be tried again by themselves."""
        return self.deliveries.get(DeliveryState.FAILED, 0)

    @property
    def open(self) -> int:
        """Those that a run goes on with."""
        return self.total - self.failed - self.deliveries.get(DeliveryState.DELIVERED, 0)


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """An image is to be delivered; where it is planned already, nothing changes."""

    job_id: int
    position: int
    image_id: str
    destination: str


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """Something is about to be made at the destination, under this id."""

    delivery_id: int
    result_id: str | None
    generation: int
    at_s: float


class InDoubt(msgspec.Struct, frozen=True, kw_only=True):
    """A request got no answer."""

    delivery_id: int
    reason: str


class PutBack(msgspec.Struct, frozen=True, kw_only=True):
    """It did not work this time; tried again from this time on."""

    delivery_id: int
    reason: str
    next_at: float


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """It is there, and this is what proved it."""

    delivery_id: int
    result_id: str
    size_bytes: int | None
    image_hash: str | None
    verified_by: str
    at_s: float


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """It will not work by itself."""

    delivery_id: int
    reason: str
    at_s: float


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants those that failed to be tried again."""

    delivery_id: int


DeliveryChange = Planned | Started | InDoubt | PutBack | Delivered | Failed | Retried


class DeliveryChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery after a change, for observers."""

    before: DeliveryState
    delivery: Delivery


_P, _D, _I = DeliveryState.PENDING, DeliveryState.DELIVERING, DeliveryState.IN_DOUBT
#: From which states each change may start, and where it leads.
MAY_START_FROM: Mapping[type[object], frozenset[DeliveryState]] = {
    Started: frozenset({_P, _D, _I}),
    InDoubt: frozenset({_D, _I}),
    PutBack: frozenset({_P, _D, _I}),
    Delivered: frozenset({_D, _I}),
    Failed: frozenset({_P, _D, _I}),
    Retried: frozenset({DeliveryState.FAILED}),
}
