"""When a job starts: cron expressions in a time zone, across daylight-saving changes. Pure.

Each start checks whether its window is open, so one start too many is harmless.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from batchexport.scheduling.window import HORIZON_DAYS, Window, change_between

if TYPE_CHECKING:
    from cronsim import CronSim

DAY_S = 86_400
#: How far back the last start is searched, in steps; most schedules are daily.
_LOOK_BACK_DAYS = (2, 9, 32, HORIZON_DAYS)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A cron expression in a time zone."""

    cron: str
    zone: ZoneInfo


class CronFields(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed cron expression, for translation into other schedule formats."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  #: Sunday is 0
    either_day: bool  #: True = a day that matches either day or weekday counts; False = it must match both


class ClockChange(msgspec.Struct, frozen=True, kw_only=True):
    """A scheduled time that a daylight-saving change skips or repeats."""

    at: datetime  #: local time of the schedule, without a zone
    skipped: bool  #: False = repeated
    starts_at: float  #: the actual start; the first of a repeated time


def checked_cron(text: str) -> str:
    """The expression with single spaces. Raises ValueError if it is invalid or never matches."""
    from cronsim import CronSimError

    expression = " ".join(text.split())
    try:
        if len(expression.split()) != 5:
            raise CronSimError("it needs five fields")
        next(_simulated(expression, datetime(2026, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        why = str(error) or "it never comes true"
        raise ValueError(
            f'"{text}" is no schedule: {why}; minute hour day month weekday, as in "0 22 * * mon-fri"'
        ) from error
    return expression


def fields_of(schedule: Schedule) -> CronFields | None:
    """The fields; None if they use a last day or the n-th weekday of a month."""
    cron = _simulated(schedule.cron, datetime.fromtimestamp(0, UTC))
    weekdays = {day % 7 for day in cron.weekdays if isinstance(day, int)}
    if min(cron.days) < 0 or len(weekdays) < len({day for day in cron.weekdays if day != 7}):
        return None
    return CronFields(
        minutes=frozenset(cron.minutes),
        hours=frozenset(cron.hours),
        days=frozenset(cron.days),
        months=frozenset(cron.months),
        weekdays=frozenset(weekdays),
        either_day=not cron.day_and,
    )


def from_window(window: Window) -> Schedule:
    """The schedule that starts whenever the window opens."""
    hour, minute = divmod(window.opens_min, 60)
    days = ",".join(str((day + 1) % 7) for day in sorted(window.days)) if len(window.days) < 7 else "*"
    return Schedule(cron=f"{minute} {hour} * * {days}", zone=window.zone)


def starts(schedule: Schedule, after: float) -> Iterator[float]:
    """The starts after an instant, in order; endless unless the schedule ends."""
    begun = datetime.fromtimestamp(after, schedule.zone)
    for start in _simulated(schedule.cron, begun):
        # Local time alone cannot tell the second occurrence of an hour from the first.
        if (at := start.timestamp()) > after:
            yield at


def next_start(schedule: Schedule, after: float) -> float | None:
    """The first start after an instant; None = the schedule has ended."""
    return next(starts(schedule, after), None)


def last_start(schedule: Schedule, now: float) -> float | None:
    """The latest start up to `now`; None = there was none within 400 days."""
    for days in _LOOK_BACK_DAYS:
        latest = None
        for at in starts(schedule, now - days * DAY_S):
            if at > now:
                break
            latest = at
        if latest is not None:
            return latest
    return None


def clock_changes(schedule: Schedule, after: float, *, days: int = HORIZON_DAYS) -> list[ClockChange]:
    """Scheduled times of the coming days that a daylight-saving change skips or repeats."""
    minute, hour = schedule.cron.split()[:2]
    if minute.startswith("*") or hour.startswith("*"):
        return []  # these run at intervals, which no change skips or repeats
    found: list[ClockChange] = []
    for change_at in _changes(schedule.zone, after, days):
        before, behind = (_wall(at, schedule.zone) for at in (change_at - 1, change_at))
        before += timedelta(seconds=1)
        first, last = min(before, behind), max(before, behind)
        for at in _simulated(schedule.cron, first - timedelta(seconds=1)):
            if at >= last:
                break
            starts_at = at.replace(tzinfo=schedule.zone).timestamp() if behind < before else change_at
            found.append(ClockChange(at=at, skipped=behind > before, starts_at=starts_at))
    return found


def told(at: float, zone: ZoneInfo) -> str:
    """An instant in local time and in UTC: Tue 2026-11-24 22:00 CET (21:00 UTC)."""
    local, utc = datetime.fromtimestamp(at, zone), datetime.fromtimestamp(at, UTC)
    other_day = "" if local.date() == utc.date() else f"{utc:%Y-%m-%d} "
    return f"{local:%a %Y-%m-%d %H:%M %Z} ({other_day}{utc:%H:%M} UTC)"


def _simulated(cron: str, after: datetime) -> CronSim:
    """The times that match after `after`. Imported lazily: most commands need no schedule."""
    from cronsim import CronSim

    return CronSim(cron, after)


def _changes(zone: ZoneInfo, after: float, days: int) -> Iterator[float]:
    """The moments at which the zone's offset changes, at most one a day."""
    for day in range(days):
        begin, end = after + day * DAY_S, after + (day + 1) * DAY_S
        offsets = {datetime.fromtimestamp(at, zone).utcoffset() for at in (begin, end)}
        if len(offsets) > 1:
            yield change_between(begin, end, zone)


def _wall(at: float, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at, zone).replace(tzinfo=None)
