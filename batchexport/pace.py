"""How long an export may be expected to take, learnt from those that ended, and what still fits. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import msgspec

#: Expectations are exceeded half of the time by definition; a fifth more leaves room for slow ones.
ROOM = 1.2
#: An export that took so many times longer than is usual for its size was not looked at in between.
_UNWATCHED = 10.0
#: Fewer ended exports than this say nothing about the next one.
LEAST_EXPORTS = 3


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What an export takes: a part that does not depend on its size, and one that does."""

    base_s: float
    s_per_gib: float

    def expected_s(self, size_gib: float) -> float:
        """Seconds an export of this size is given."""
        return ROOM * (self.base_s + self.s_per_gib * size_gib)

    def most_gib(self, left_s: float) -> int:
        """GiB of the largest volume that is expected to be done in so many seconds; 0 = none is."""
        left_for_data_s = left_s / ROOM - self.base_s
        return max(0, int(left_for_data_s / self.s_per_gib)) if left_for_data_s > 0 else 0


#: Where nothing was learnt yet: 35 MB/s, and two minutes to begin and end. Three times the speed that the
#: deadline of a stalled export allows, and half of what clouds were seen to do.
FIRST_PACE = Pace(base_s=120.0, s_per_gib=30.0)
#: No line through noise may say that data takes no time.
_LEAST_S_PER_GIB = 0.01


class OpenHours(msgspec.Struct, frozen=True, kw_only=True):
    """How long this process may begin exports, and watch them."""

    closes_at: float  #: seconds since the epoch: what begins is expected to end before
    watched_until: float  #: nothing is waited for after this
    pace: Pace = FIRST_PACE

    def most_gib(self, now: float) -> int:
        """GiB of the largest volume whose export may begin now; 0 = none may any more."""
        return self.pace.most_gib(self.closes_at - now)


def learned(exports: Iterable[tuple[int, float]]) -> Pace:
    """The pace of ended exports, each its GiB and its seconds; FIRST_PACE where they are too few."""
    seen = [(max(1, gib), seconds) for gib, seconds in exports if seconds > 0]
    if len(seen) < LEAST_EXPORTS:
        return FIRST_PACE
    usual = statistics.median(seconds / gib for gib, seconds in seen)
    seen = [(gib, seconds) for gib, seconds in seen if seconds <= _UNWATCHED * usual * gib]
    sizes, spans = zip(*seen, strict=True)
    if len(set(sizes)) > 1:
        line = statistics.linear_regression(sizes, spans)
        if line.slope > _LEAST_S_PER_GIB and line.intercept >= 0:
            return Pace(base_s=line.intercept, s_per_gib=line.slope)
    return Pace(base_s=0.0, s_per_gib=max(_LEAST_S_PER_GIB, sum(spans) / sum(sizes)))
