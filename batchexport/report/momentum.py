"""How fast a run goes lately and when it may be through, from what ended last and what is under way. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from batchexport.model import FINAL_STATES, JobState, TargetKey
from batchexport.report.totals import Totals
from batchexport.report.words import count_of, duration, number, shown
from batchexport.scheduling.throughput import MIN_EXPORTS, Throughput, fit_throughput
from batchexport.store import RecentEnding, UnderWay

#: What ended longer ago says little about now.
WINDOW_S = 900.0
#: Endings looked at: more than two a second is faster than any cloud copies.
MOST_ENDINGS = 2000
#: Where nothing ended for so long, and for twice as long as an export takes, nothing can be promised.
_QUIET_S = 120.0
#: An export that takes so many times longer than those before it did is late.
_LATE = 1.5
#: Exports that are named.
MOST_NAMED = 3


class Momentum(msgspec.Struct, frozen=True, kw_only=True):
    """The recent pace, and what it comes to. None = nothing to tell it from."""

    rows_per_minute: float | None
    gib_per_hour: float | None
    left_s: float | None
    quiet_s: float | None = None  #: nothing has ended for so long; None = that is no longer than usual
    late: int = 0  #: exports under way that take longer than those before them did


def momentum_of(
    totals: Totals,
    endings: Sequence[RecentEnding],
    *,
    began_at: float | None,
    now: float,
    under_way: Sequence[UnderWay] = (),
) -> Momentum:
    """The momentum from the endings of the last quarter of an hour, or since `began_at`, if that is less.

    Rows that ended without being sent say nothing about the pace. What is left is weighed by size, since an
    export takes as long as its volume is large; rows of unknown size count as the mean of the others. Without
    any size, rows are counted. No export under way is promised to end sooner than those before it did; where
    the last ones are late, or nothing ends any more, nothing is promised.
    """
    span_s = max(1.0, min(WINDOW_S, now - (began_at or 0.0)))
    sent = [each for each in endings if each.was_sent and each.outcome in FINAL_STATES]
    recent = [each for each in sent if each.ended_at > now - span_s]
    pace = _pace(sent)
    late = 0 if pace is None else sum(_is_late(each, pace, now) for each in under_way)
    quiet_s = _quiet_s(sent, now) if under_way else None
    if not recent:
        return Momentum(rows_per_minute=None, gib_per_hour=None, left_s=None, quiet_s=quiet_s, late=late)
    gib_per_s = sum(each.size_gib or 0 for each in recent if each.outcome is JobState.SUCCEEDED) / span_s
    left_gib = gib_left(totals)
    by_size = left_gib / gib_per_s if left_gib is not None and gib_per_s else None
    left_s = totals.to_do * span_s / len(recent) if by_size is None else by_size
    if pace is not None:
        left_s = max(left_s, *(_left_s(each, pace, now) for each in under_way), 0.0)
    is_tail = totals.rows[JobState.PENDING] == 0
    return Momentum(
        rows_per_minute=len(recent) * 60 / span_s,
        gib_per_hour=gib_per_s * 3600 or None,
        left_s=None if quiet_s is not None or (is_tail and late) else left_s,
        quiet_s=quiet_s,
        late=late,
    )


def gib_left(totals: Totals) -> float | None:
    """GiB that are still to be exported, rows of unknown size by the mean; None where no size is known."""
    if not totals.sized:
        return None
    return totals.gib_to_do + totals.unsized_to_do * totals.gib.total() / totals.sized


def momentum_lines(
    pace: Momentum,
    rates: Sequence[tuple[TargetKey, float]],
    *,
    under_way: Sequence[UnderWay] = (),
    now: float,
) -> list[str]:
    """The momentum in words, with the exports that take longest and the rates that clouds asked for."""
    parts = []
    if pace.gib_per_hour is not None:
        parts.append(f"{number(pace.gib_per_hour)} GiB/h")
    if pace.rows_per_minute is not None:
        parts.append(f"{pace.rows_per_minute:,.1f} rows/min lately")
    parts += left_parts(pace)
    lines = [f"pace: {', '.join(parts) or 'nothing ended in the last quarter of an hour'}"]
    if named := slowest_text(under_way, now):
        lines.append(f"slowest: {named}")
    lines += [limited_text(rate, target if len(rates) > 1 else None) for target, rate in rates]
    return lines


def left_parts(pace: Momentum) -> list[str]:
    """When it may be through, or why that cannot be told."""
    parts = [f"about {duration(pace.left_s)} left"] if pace.left_s else []
    if pace.quiet_s is not None:
        parts.append(f"nothing has ended for {duration(pace.quiet_s)}")
    elif pace.late and not pace.left_s:
        takes = "takes" if pace.late == 1 else "take"
        parts.append(f"{count_of(pace.late, 'export')} {takes} longer than those before")
    return parts


def slowest_text(under_way: Sequence[UnderWay], now: float) -> str:
    """The exports that are under way for longest, by name, size and age; empty where there are none."""
    slowest = sorted(under_way, key=lambda each: each.accepted_at)[:MOST_NAMED]
    return ", ".join(_named(each, now) for each in slowest)


def limited_text(rate: float, target: TargetKey | None = None) -> str:
    """That a cloud asked for fewer requests."""
    where = "the cloud" if target is None else shown(str(target))
    return (
        f"limited to {rate:,.2g} requests/s by {where}"
        if rate < 10
        else f"limited to {rate:,.0f} requests/s by {where}"
    )


def _named(each: UnderWay, now: float) -> str:
    size = "" if each.size_gib is None else f" {number(each.size_gib)} GiB"
    stalled = " stalled" if each.deadline_at is not None and each.deadline_at < now else ""
    status = f" image {shown(each.image_status)}" if each.image_status else ""
    return f"{shown(each.name)}{size} {duration(now - each.accepted_at)}{stalled}{status}"


def _pace(sent: Sequence[RecentEnding]) -> Throughput | None:
    """What an export of this run takes; None where too few have ended."""
    exports = [
        (each.size_gib, each.ended_at - each.accepted_at)
        for each in sent
        if each.outcome is JobState.SUCCEEDED and each.size_gib and each.accepted_at is not None
    ]
    return fit_throughput(exports) if len(exports) >= MIN_EXPORTS else None


def _left_s(each: UnderWay, pace: Throughput, now: float) -> float:
    return 0.0 if each.size_gib is None else pace.expected_s(each.size_gib) - (now - each.accepted_at)


def _is_late(each: UnderWay, pace: Throughput, now: float) -> bool:
    return each.size_gib is not None and now - each.accepted_at > _LATE * pace.expected_s(each.size_gib)


def _quiet_s(sent: Sequence[RecentEnding], now: float) -> float | None:
    """For how long nothing has ended, where that is longer than usual."""
    if not sent:
        return None
    took_s = [each.ended_at - each.accepted_at for each in sent if each.accepted_at is not None]
    quiet_s = now - max(each.ended_at for each in sent)
    return quiet_s if quiet_s > max(_QUIET_S, 2 * statistics.median(took_s or [0.0])) else None
