"""How fast a run goes lately and when it may be through, from what ended last. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from batchexport.model import FINAL_STATES, JobState, TargetKey
from batchexport.report.totals import Totals
from batchexport.report.words import duration, number
from batchexport.store import RecentEnding

#: What ended longer ago says little about now.
WINDOW_S = 900.0
#: Endings looked at: more than two a second is faster than any cloud copies.
MOST_ENDINGS = 2000


class Momentum(msgspec.Struct, frozen=True, kw_only=True):
    """The recent pace, and what it comes to. None = nothing to tell it from."""

    rows_per_minute: float | None
    gib_per_hour: float | None
    left_s: float | None


def momentum_of(
    totals: Totals, endings: Sequence[RecentEnding], *, began_at: float | None, now: float
) -> Momentum:
    """The momentum from the endings of the last quarter of an hour, or since the run began, if that is less.

    What is left is weighed by size, since an export takes as long as its volume is large; rows of unknown
    size count as the mean of the others. Without any size, rows are counted.
    """
    span_s = max(1.0, min(WINDOW_S, now - (began_at or 0.0)))
    recent = [each for each in endings if each.ended_at > now - span_s and each.outcome in FINAL_STATES]
    if not recent:
        return Momentum(rows_per_minute=None, gib_per_hour=None, left_s=None)
    gib_per_s = sum(each.size_gib or 0 for each in recent if each.outcome is JobState.SUCCEEDED) / span_s
    left_gib = gib_left(totals)
    by_size = left_gib / gib_per_s if left_gib is not None and gib_per_s else None
    return Momentum(
        rows_per_minute=len(recent) * 60 / span_s,
        gib_per_hour=gib_per_s * 3600 or None,
        left_s=totals.to_do * span_s / len(recent) if by_size is None else by_size,
    )


def gib_left(totals: Totals) -> float | None:
    """GiB that are still to be exported, rows of unknown size by the mean; None where no size is known."""
    if not totals.sized:
        return None
    unsized = min(totals.to_do, totals.unsized)
    return totals.gib_to_do + unsized * totals.gib.total() / totals.sized


def momentum_lines(pace: Momentum, rates: Sequence[tuple[TargetKey, float]]) -> list[str]:
    """The momentum in words, with the rates that clouds asked for."""
    parts = []
    if pace.gib_per_hour is not None:
        parts.append(f"{number(pace.gib_per_hour)} GiB/h")
    if pace.rows_per_minute is not None:
        parts.append(f"{pace.rows_per_minute:,.1f} rows/min lately")
    if pace.left_s:
        parts.append(f"about {duration(pace.left_s)} left")
    lines = [f"pace: {', '.join(parts) or 'nothing ended in the last quarter of an hour'}"]
    lines += [f"limit: {rate:,.3g} requests/s, as {target} asked for" for target, rate in rates]
    return lines
