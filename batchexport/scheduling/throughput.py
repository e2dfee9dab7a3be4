"""How long an export takes, fitted to those that ended, and the largest volume that still fits. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import msgspec

#: Half of all exports take longer than expected by definition; a fifth more leaves room for them.
HEADROOM = 1.2
#: An export this many times slower than usual for its size ended while no process polled it.
_UNWATCHED = 10.0
#: With fewer ended exports than this, the default throughput is used.
MIN_EXPORTS = 3


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """How long an export takes: a fixed part, and a part per GiB."""

    base_s: float
    s_per_gib: float

    def expected_s(self, size_gib: float) -> float:
        """Seconds an export of this size is expected to take, headroom included."""
        return HEADROOM * (self.base_s + self.s_per_gib * size_gib)

    def max_gib(self, left_s: float) -> int:
        """GiB of the largest volume expected to finish within `left_s` seconds; 0 = none."""
        left_for_data_s = left_s / HEADROOM - self.base_s
        return max(0, int(left_for_data_s / self.s_per_gib)) if left_for_data_s > 0 else 0


#: Until enough exports have ended: 35 MB/s plus two minutes. That is three times the speed at which an export
#: counts as stalled, and half of what real clouds were measured to do.
DEFAULT_THROUGHPUT = Throughput(base_s=120.0, s_per_gib=30.0)
#: A fit through noise must not come to zero seconds per GiB.
_MIN_S_PER_GIB = 0.01


class OpenHours(msgspec.Struct, frozen=True, kw_only=True):
    """Until when this process may start exports and poll them."""

    closes_at: float  #: seconds since the epoch; only exports expected to end by then are started
    watched_until: float  #: seconds since the epoch; polling ends then
    throughput: Throughput = DEFAULT_THROUGHPUT
    starts_exports: bool = True  #: False: deliveries begin until `closes_at`, exports never
    limit: str = "the window"  #: what it is that closes, for people

    def max_gib_at(self, now: float) -> int:
        """GiB of the largest volume whose export may start at `now`; 0 = none."""
        return self.throughput.max_gib(self.closes_at - now) if self.starts_exports else 0


def fit_throughput(exports: Iterable[tuple[int, float]]) -> Throughput:
    """The throughput of ended exports, given as (GiB, seconds); DEFAULT_THROUGHPUT if they are too few."""
    seen = [(max(1, gib), seconds) for gib, seconds in exports if seconds > 0]
    if len(seen) < MIN_EXPORTS:
        return DEFAULT_THROUGHPUT
    usual = statistics.median(seconds / gib for gib, seconds in seen)
    seen = [(gib, seconds) for gib, seconds in seen if seconds <= _UNWATCHED * usual * gib]
    sizes, spans = zip(*seen, strict=True)
    if len(set(sizes)) > 1:
        line = statistics.linear_regression(sizes, spans)
        if line.slope > _MIN_S_PER_GIB and line.intercept >= 0:
            return Throughput(base_s=line.intercept, s_per_gib=line.slope)
    return Throughput(base_s=0.0, s_per_gib=max(_MIN_S_PER_GIB, sum(spans) / sum(sizes)))
