"""Where the marks of an axis stand, and how they read. Pure."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, tzinfo

import msgspec

#: So many marks of time still stand apart on a telephone.
MOST_TIME_MARKS = 5
_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


class AxisMark(msgspec.Struct, frozen=True):
    """One mark: how far along the axis (0 to 1), and its words."""

    share: float
    words: str


def time_marks(began_at: float, ended_at: float, zone: tzinfo | None) -> list[AxisMark]:
    """Marks at round times of the clock in `zone` (None = this machine's)."""
    span_s = ended_at - began_at
    width_s = next((width for width in _WIDTHS_S if span_s / width <= MOST_TIME_MARKS), None)
    if width_s is None:
        width_s = math.ceil(span_s / MOST_TIME_MARKS / 86400) * 86400
    form = "%d %b" if width_s >= 86400 else "%H:%M" if width_s >= 60 else "%H:%M:%S"
    begin = datetime.fromtimestamp(began_at, zone).astimezone(zone)
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    round_s = min(width_s, 86400)
    steps = math.ceil((begin - midnight).total_seconds() / round_s)
    first_at = (midnight + timedelta(seconds=steps * round_s)).timestamp()
    count = max(0, int((ended_at - first_at) // width_s) + 1)
    return [
        AxisMark((at - began_at) / span_s, f"{datetime.fromtimestamp(at, zone):{form}}")
        for at in (first_at + place * width_s for place in range(count))
    ]


def round_top(most: float) -> float:
    """A round amount that is not below `most`: where the axis ends."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(
        power * step for step in (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10) if power * step >= most * 0.999999
    )
