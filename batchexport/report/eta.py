"""Recent throughput of a run and the time left, from its latest endings and its running exports. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from batchexport.model import FINAL_STATES, JobState, TargetKey
from batchexport.report.text import count_of, duration, number, printable
from batchexport.report.totals import Totals
from batchexport.scheduling.throughput import MIN_EXPORTS, Throughput, fit_throughput
from batchexport.store import AttemptReport, Reader

#: Seconds; exports that ended longer ago say little about now.
WINDOW_S = 900.0
#: Endings considered: more than two a second is faster than any cloud copies.
MAX_ENDINGS = 2000
#: Seconds; if nothing ended for this long, and for twice the time of an export, no estimate is given.
_QUIET_S = 120.0
#: An export that takes this many times longer than the earlier ones is late.
_LATE = 1.5
#: Exports named.
MAX_NAMED = 3


class RunningExport(msgspec.Struct, frozen=True, kw_only=True):
    """An export that the cloud is working on."""

    name: str  #: of the volume, else its id
    size_gib: int | None
    accepted_at: float
    deadline_at: float | None = None
    image_status: str | None = None  #: the cloud's word for its image when somebody last looked


def running_exports(reader: Reader) -> list[RunningExport]:
    """The exports that the cloud is working on. Costs as much as there are of them."""
    return [
        RunningExport(
            name=job.volume_name or job.volume_id,
            size_gib=job.size_gib,
            accepted_at=job.accepted_at,
            deadline_at=job.deadline_at,
            image_status=job.image_status,
        )
        for job in reader.jobs({JobState.EXPORTING})
        if job.accepted_at is not None
    ]


class Eta(msgspec.Struct, frozen=True, kw_only=True):
    """Recent throughput and the estimated time left. None = not enough is known."""

    rows_per_minute: float | None
    gib_per_hour: float | None
    left_s: float | None
    quiet_s: float | None = None  #: seconds since the last export ended; None = no longer than usual
    late: int = 0  #: running exports that take longer than earlier ones did


def estimate(
    totals: Totals,
    endings: Sequence[AttemptReport],
    *,
    began_at: float | None,
    now: float,
    under_way: Sequence[RunningExport] = (),
) -> Eta:
    """Estimate from the endings of the last quarter of an hour, or since `began_at` if that is later.

    Rows that ended without being sent do not count. The rest is weighed by size, since larger volumes take
    longer; rows of unknown size count as the mean of the others, and without any size rows are counted. No
    running export is expected to end sooner than earlier ones did. If the last ones are late, or nothing has
    ended for long, no time is given.
    """
    span_s = max(1.0, min(WINDOW_S, now - (began_at or 0.0)))
    sent = [each for each in endings if each.intent_at is not None and each.outcome in FINAL_STATES]
    recent = [each for each in sent if each.ended_at > now - span_s]
    pace = _pace(sent)
    late = 0 if pace is None else sum(_is_late(each, pace, now) for each in under_way)
    quiet_s = _quiet_s(sent, now) if under_way else None
    if not recent:
        return Eta(rows_per_minute=None, gib_per_hour=None, left_s=None, quiet_s=quiet_s, late=late)
    gib_per_s = sum(each.size_gib or 0 for each in recent if each.outcome is JobState.SUCCEEDED) / span_s
    left_gib = gib_left(totals)
    by_size = left_gib / gib_per_s if left_gib is not None and gib_per_s else None
    left_s = totals.to_do * span_s / len(recent) if by_size is None else by_size
    if pace is not None:
        left_s = max(left_s, *(_left_s(each, pace, now) for each in under_way), 0.0)
    is_tail = totals.rows[JobState.PENDING] == 0
    return Eta(
        rows_per_minute=len(recent) * 60 / span_s,
        gib_per_hour=gib_per_s * 3600 or None,
        left_s=None if quiet_s is not None or (is_tail and late) else left_s,
        quiet_s=quiet_s,
        late=late,
    )


def gib_left(totals: Totals) -> float | None:
    """GiB still to be exported, rows of unknown size at the mean; None if no size is known."""
    if not totals.sized:
        return None
    return totals.gib_to_do + totals.unsized_to_do * totals.gib.total() / totals.sized


def eta_lines(
    pace: Eta,
    rates: Sequence[tuple[TargetKey, float]],
    *,
    under_way: Sequence[RunningExport] = (),
    now: float,
) -> list[str]:
    """The estimate in words, with the slowest exports and the rate limits that clouds asked for."""
    parts = []
    if pace.gib_per_hour is not None:
        parts.append(f"{number(pace.gib_per_hour)} GiB/h")
    if pace.rows_per_minute is not None:
        parts.append(f"{pace.rows_per_minute:,.1f} rows/min lately")
    parts += time_left_parts(pace)
    lines = [f"pace: {', '.join(parts) or 'nothing ended in the last quarter of an hour'}"]
    if named := slowest_text(under_way, now):
        lines.append(f"slowest: {named}")
    lines += [limited_text(rate, target if len(rates) > 1 else None) for target, rate in rates]
    return lines


def time_left_parts(pace: Eta) -> list[str]:
    """The time left, or why it cannot be estimated."""
    parts = [f"about {duration(pace.left_s)} left"] if pace.left_s else []
    if pace.quiet_s is not None:
        parts.append(f"nothing has ended for {duration(pace.quiet_s)}")
    elif pace.late and not pace.left_s:
        takes = "takes" if pace.late == 1 else "take"
        parts.append(f"{count_of(pace.late, 'export')} {takes} longer than those before")
    return parts


def slowest_text(under_way: Sequence[RunningExport], now: float) -> str:
    """The exports running longest, by name, size and age; empty if there are none."""
    slowest = sorted(under_way, key=lambda each: each.accepted_at)[:MAX_NAMED]
    return ", ".join(_named(each, now) for each in slowest)


def limited_text(rate: float, target: TargetKey | None = None) -> str:
    """The rate limit that a cloud asked for."""
    where = "the cloud" if target is None else printable(target.label)
    digits = f"{rate:,.2g}" if rate < 10 else f"{rate:,.0f}"
    return f"throttled to {digits} requests/s by {where}"


def _named(each: RunningExport, now: float) -> str:
    size = "" if each.size_gib is None else f" {number(each.size_gib)} GiB"
    stalled = " stalled" if each.deadline_at is not None and each.deadline_at < now else ""
    status = f" image {printable(each.image_status)}" if each.image_status else ""
    return f"{printable(each.name)}{size} {duration(now - each.accepted_at)}{stalled}{status}"


def _pace(sent: Sequence[AttemptReport]) -> Throughput | None:
    """The throughput of this run's exports; None if too few have ended."""
    exports = [
        (each.size_gib, each.ended_at - each.accepted_at)
        for each in sent
        if each.outcome is JobState.SUCCEEDED and each.size_gib and each.accepted_at is not None
    ]
    return fit_throughput(exports) if len(exports) >= MIN_EXPORTS else None


def _left_s(each: RunningExport, pace: Throughput, now: float) -> float:
    return 0.0 if each.size_gib is None else pace.expected_s(each.size_gib) - (now - each.accepted_at)


def _is_late(each: RunningExport, pace: Throughput, now: float) -> bool:
    return each.size_gib is not None and now - each.accepted_at > _LATE * pace.expected_s(each.size_gib)


def _quiet_s(sent: Sequence[AttemptReport], now: float) -> float | None:
    """Seconds since the last export ended; None if that is no longer than usual."""
    if not sent:
        return None
    took_s = [each.ended_at - each.accepted_at for each in sent if each.accepted_at is not None]
    quiet_s = now - max(each.ended_at for each in sent)
    return quiet_s if quiet_s > max(_QUIET_S, 2 * statistics.median(took_s or [0.0])) else None
