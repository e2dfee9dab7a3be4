"""The weather of a sandbox: what real clouds do that a kind one does not, one struct for each fault.

None = that fault does not occur. Times are in real seconds, whatever the time scale of the exports. The first
line of each docstring is what `docs/reference/weather.md` says.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
ServiceName = Literal["volume", "image", "compute"]
Services = tuple[ServiceName, ...]
Call = Literal["export", "get_volume", "get_image", "delete_image", "get_server", "act_on_server"]
ALL: Services = ("volume", "image", "compute")


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every fault has in common: `share` is how many of its chances it takes."""

    share: Share = 0.1


class Lag(Fault, frozen=True, kw_only=True):
    """Reads are answered by a replica that lags behind the writes."""

    share: Share = 0.5
    seconds: Seconds = 3.0
    services: Services = ALL
    reads: Literal["all", "lists", "by_id"] = "all"


class Missing(Fault, frozen=True, kw_only=True):
    """A record is missing from one list answer, and back in the next."""

    services: Services = ALL


class Stale(Fault, frozen=True, kw_only=True):
    """A cache repeats an earlier answer to the same read."""

    share: Share = 0.3
    seconds: Seconds = 5.0
    services: Services = ALL


class OddImage(Fault, frozen=True, kw_only=True):
    """Lists of images contain somebody's image with values of the wrong type."""

    share: Share = 1.0


class Gateway(Fault, frozen=True, kw_only=True):
    """The gateway has no back end: it answers in HTML and passes nothing on."""

    statuses: tuple[Literal[404, 500, 502, 503, 504], ...] = (404, 502, 503, 504)
    services: Services = ALL
    requests: Literal["all", "reads", "writes"] = "all"


class CappedLists(Fault, frozen=True, kw_only=True):
    """Lists end after `records` records, without a link to the rest."""

    share: Share = 1.0
    records: Count = 25
    services: Services = ALL


class RefusedLists(Fault, frozen=True, kw_only=True):
    """Lists are forbidden (403), while the same records can be read by id."""

    share: Share = 1.0
    services: Services = ("volume",)


class SlowLists(Fault, frozen=True, kw_only=True):
    """Lists take too long for the gateway in front of them (504)."""

    share: Share = 1.0
    seconds: Seconds = 0.5
    services: Services = ("volume",)


class FlappingToken(Fault, frozen=True, kw_only=True):
    """A good token is refused (401) now and then."""

    share: Share = 0.05
    services: Services = ALL


class Forbidden(Fault, frozen=True, kw_only=True):
    """One call is forbidden (403) for some volumes, images or servers, and for all others it is not."""

    calls: tuple[Call, ...] = ("export",)


class Throttled(Fault, frozen=True, kw_only=True):
    """Requests are rejected for their rate; the time to wait may be absurd."""

    status: Literal[413, 429, 497, 498, 503] = 429
    header: Literal["Retry-After", "X-Retry-After", ""] = "Retry-After"
    waits: tuple[str, ...] = ("1",)  #: values of that header, as they are sent
    services: Services = ALL


class Quota(Fault, frozen=True, kw_only=True):
    """An export is refused for a quota, with 413 and `Retry-After: 0` as Cinder does it."""


class Identity(Fault, frozen=True, kw_only=True):
    """The identity service is away, slow, or limits sign-ins (429)."""

    share: Share = 1.0  #: of the sign-ins that are slow
    slow_s: Seconds = 0.0
    away_from_s: Seconds = 0.0  #: since the start of the sandbox
    away_for_s: Seconds = 0.0
    per_second: Annotated[float, Meta(ge=0)] = 3.0  #: 0 = as many as you like


class LongHeaders(Fault, frozen=True, kw_only=True):
    """Answers carry a header of `size` bytes."""

    share: Share = 1.0
    size: Count = 12_000


class Gzip(Fault, frozen=True, kw_only=True):
    """Answers are compressed unasked."""

    share: Share = 1.0


class Clocks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The clocks of the services differ from the true time, drift, and jump."""

    volume_s: float = 0.0  #: ahead of the true time; below 0: behind it
    image_s: float = -300.0
    compute_s: float = 0.0
    identity_s: float = 0.0
    drift_s_per_hour: float = 0.0
    jump_s: float = 0.0
    jump_after_s: Seconds = 10.0  #: since the start of the sandbox
    shown_in: Literal["both", "header", "records"] = "both"


class Cell(Fault, frozen=True, kw_only=True):
    """A cell of the compute service is away: lists leave its servers out, by id they are 500."""

    share: Share = 0.5  #: of the servers
    from_s: Seconds = 5.0  #: since the start of the sandbox
    for_s: Seconds = 30.0


class Stuck(Fault, frozen=True, kw_only=True):
    """The service dies during an export: volume `uploading` and image unfinished for ever."""

    status: Literal["queued", "saving"] = "saving"


class Late(Fault, frozen=True, kw_only=True):
    """The image turns active long after its volume is free."""

    share: Share = 0.3
    seconds: Seconds = 20.0
    status: Literal["importing", "queued", "saving"] = "importing"


class Vanishing(Fault, frozen=True, kw_only=True):
    """The image is not found (404, and in no list) for a while after it is finished, then it is back."""

    share: Share = 0.3
    seconds: Seconds = 5.0


class ShortImage(Fault, frozen=True, kw_only=True):
    """The image is active, and has no bytes or too few."""

    keeps: Share = 0.0  #: of its bytes


class ForeignImage(Fault, frozen=True, kw_only=True):
    """Another project publishes an image of the same name just after the export began."""

    share: Share = 0.3


class Swapped(Fault, frozen=True, kw_only=True):
    """The answers to two exports that are asked for at the same time are swapped."""

    within_s: Seconds = 0.2


class Repeated(Fault, frozen=True, kw_only=True):
    """An export is carried out, and answered with the answer to an earlier one."""


class Lost(Fault, frozen=True, kw_only=True):
    """The connection breaks instead of an answer to an export."""

    carried_out: Share = 0.5  #: how many of them the cloud has carried out
    late_s: Seconds = 0.0  #: after the connection broke


class Starter(Fault, frozen=True, kw_only=True):
    """Somebody starts a server again that was stopped for its exports."""

    share: Share = 0.3
    after_s: Seconds = 1.0


class Deleter(Fault, frozen=True, kw_only=True):
    """Somebody deletes a finished image."""

    after_s: Seconds = 5.0


class Rival(Fault, frozen=True, kw_only=True):
    """Somebody exports the same volume under the same name just before."""


class FailedSnapshot(Fault, frozen=True, kw_only=True):
    """A snapshot is accepted and ends in `error`."""


class FailedVolume(Fault, frozen=True, kw_only=True):
    """A new volume is accepted and ends in `error`."""


class Busy(Fault, frozen=True, kw_only=True):
    """A deletion of a snapshot or a volume is accepted, and it is available again: the back end was busy."""

    share: Share = 0.3


class Undeletable(Fault, frozen=True, kw_only=True):
    """A deletion of a snapshot or a volume is accepted and ends in `error_deleting`."""


class Weather(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that goes wrong in a sandbox; as it stands nothing does. The same seed draws the same."""

    seed: int = 0
    lag: Lag | None = None
    missing: Missing | None = None
    stale: Stale | None = None
    odd_image: OddImage | None = None
    gateway: Gateway | None = None
    capped_lists: CappedLists | None = None
    refused_lists: RefusedLists | None = None
    slow_lists: SlowLists | None = None
    flapping_token: FlappingToken | None = None
    forbidden: Forbidden | None = None
    throttled: Throttled | None = None
    quota: Quota | None = None
    identity: Identity | None = None
    long_headers: LongHeaders | None = None
    gzip: Gzip | None = None
    clocks: Clocks | None = None
    cell: Cell | None = None
    stuck: Stuck | None = None
    late: Late | None = None
    vanishing: Vanishing | None = None
    short_image: ShortImage | None = None
    foreign_image: ForeignImage | None = None
    swapped: Swapped | None = None
    repeated: Repeated | None = None
    lost: Lost | None = None
    starter: Starter | None = None
    deleter: Deleter | None = None
    rival: Rival | None = None
    failed_snapshot: FailedSnapshot | None = None
    failed_volume: FailedVolume | None = None
    busy: Busy | None = None
    undeletable: Undeletable | None = None

    @property
    def is_fair(self) -> bool:
        """Whether nothing goes wrong."""
        return self == Weather(seed=self.seed)
