"""The weather while a sandbox runs: what strikes each request, what is remembered, and clocks that differ."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime, timedelta

import msgspec
from aiohttp import web

from batchexport.sandbox.outcome import pseudo_random
from batchexport.sandbox.responses import Service, service_of
from batchexport.sandbox.weather.settings import Clocks, Fault, ServiceName, Weather

#: How many seconds the replica is behind that answers the request at hand.
LAG_S: ContextVar[float] = ContextVar("LAG_S", default=0.0)
#: Who sends the current request: the client under test, or another user that the weather plays.
SENT_BY: ContextVar[str] = ContextVar("SENT_BY", default="client")

SERVICES: dict[Service, ServiceName] = {
    Service.VOLUME: "volume",
    Service.EVS: "volume",
    Service.IMAGE: "image",
    Service.IMS: "image",
    Service.COMPUTE: "compute",
    Service.ECS: "compute",
}


def service_name(path: str) -> str:
    """The service that a path belongs to, as the weather calls it; "" = none."""
    service = service_of(path)
    if service is None:
        return ""
    return SERVICES.get(service, str(service))


VERSIONS = ("list_versions", "get_version", "unknown")
#: Answers kept for the cache that repeats them.
MAX_CACHED = 500


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for, as far as the weather minds. `number` counts the same request from 1."""

    kind: str
    service: ServiceName
    path: str
    subject: str  #: id of the volume, image, server or snapshot; "" for lists
    is_read: bool
    number: int

    @property
    def is_list(self) -> bool:
        """Whether it asks for many records."""
        return self.kind.startswith("list_")

    @property
    def is_export(self) -> bool:
        """Whether it asks for an export."""
        return self.kind == "post_action"

    @property
    def is_creation(self) -> bool:
        """Whether it asks for a snapshot or a volume."""
        return self.kind in ("create_snapshot", "create_volume")


class Accepted(msgspec.Struct, kw_only=True):
    """The answer to an export that waits for another one to be swapped with."""

    body: bytes
    other: asyncio.Future[bytes]


class Cached(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to a read."""

    body: bytes
    content_type: str
    at: float


class Conditions:
    """The weather of one running sandbox. `counts` takes how often each fault struck, as `weather:NAME`."""

    def __init__(self, weather: Weather, *, began_at: float, counts: Counter[str]) -> None:
        self.weather = weather
        self.began_at = began_at
        self.calm = weather.is_fair
        self.cache: OrderedDict[str, Cached] = OrderedDict()
        self.last_accepted: bytes | None = None
        self.to_swap: Accepted | None = None
        self.sign_ins: list[float] = []  #: when they came, those of the last second
        self.overlooked: set[tuple[str, str]] = set()  #: records that the latest list left out, by kind
        self.late: set[asyncio.Task[None]] = set()
        self._counts = counts
        self._numbers: Counter[tuple[str, str]] = Counter()

    def pseudo_random(self, name: str, *what: str | int) -> float:
        """A number in [0, 1) for this fault and these things alone."""
        return pseudo_random(self.weather.seed, f"weather {name}", *what)

    def strikes(self, name: str, fault: Fault | None, *what: str | int) -> bool:
        """Whether the fault strikes these things; it is counted then."""
        if fault is None or self.pseudo_random(name, *what) >= fault.share:
            return False
        self.count(name)
        return True

    def hits(self, name: str, fault: Fault | None, asked: Asked) -> bool:
        """Whether the fault strikes this request; where it is bound to services, only theirs."""
        services = getattr(fault, "services", None)
        if services is not None and asked.service not in services:
            return False
        return self.strikes(name, fault, asked.kind, asked.path, asked.number)

    def count(self, name: str) -> None:
        """Note that a fault struck."""
        self._counts[f"weather:{name}"] += 1

    def asked(self, request: web.Request, kind: str) -> Asked | None:
        """What the request asks for; None where the weather does not matter to it."""
        service = SERVICES.get(found) if (found := service_of(request.path)) is not None else None
        if service is None or kind in VERSIONS:
            return None
        path = request.path_qs
        self._numbers[request.method, path] += 1
        ids = (request.match_info.get(f"{what}_id") for what in ("snapshot", "volume", "image", "server"))
        return Asked(
            kind=kind,
            service=service,
            path=path,
            subject=next((each for each in ids if each), ""),
            is_read=request.method == "GET",
            number=self._numbers[request.method, path],
        )


#: The fields of records, and of queries, that hold a time.
TIMES = ("created_at", "updated_at", "created", "updated", "issued_at", "expires_at")
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}")
HOUR_S = 3600.0


def ahead_s(conditions: Conditions, service: str, now: float) -> float:
    """By how much the clock of a service is ahead of the true time `now`."""
    clocks = conditions.weather.clocks
    if clocks is None:
        return 0.0
    up_s = now - conditions.began_at
    offset: float = getattr(clocks, f"{service}_s", 0.0)
    jumped = clocks.jump_s if up_s >= clocks.jump_after_s else 0.0
    return offset + jumped + clocks.drift_s_per_hour * up_s / HOUR_S


def in_header_s(conditions: Conditions, service: str, now: float) -> float:
    """The same, for the Date header."""
    return ahead_s(conditions, service, now) if _shows(conditions.weather.clocks, "header") else 0.0


def in_records_s(conditions: Conditions, service: str, now: float) -> float:
    """The same, for the times in records; whole seconds."""
    if not _shows(conditions.weather.clocks, "records"):
        return 0.0
    return float(round(ahead_s(conditions, service, now)))


def by_true_time(request: web.Request, ahead: float) -> web.Request:
    """The request with the times in its query turned from those of the service into true ones."""
    times = {name: _moved(text, -ahead) for name, text in request.query.items() if name in TIMES}
    if not times or not ahead:
        return request
    return request.clone(rel_url=request.rel_url.update_query(times))


def shifted(value: object, ahead: float) -> object:
    """A JSON value with every time of its records moved."""
    if isinstance(value, list):
        return [shifted(each, ahead) for each in value]
    if isinstance(value, Mapping):
        return {
            name: _moved(each, ahead) if name in TIMES and isinstance(each, str) else shifted(each, ahead)
            for name, each in value.items()
        }
    return value


def _shows(clocks: Clocks | None, where: str) -> bool:
    return clocks is not None and clocks.shown_in in ("both", where)


def _moved(text: str, seconds: float) -> str:
    def later(found: re.Match[str]) -> str:
        return (datetime.fromisoformat(found[0]) + timedelta(seconds=seconds)).isoformat(timespec="seconds")

    return INSTANT.sub(later, text)
