"""When a job is to start: cron expressions in a time zone, across its clock changes. Pure.

The program decides at each start whether its window is open, so a start too many does no harm here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from batchexport.window import HORIZON_DAYS, Window, change_between

if TYPE_CHECKING:
    from cronsim import CronSim

DAY_S = 86_400
#: How far back the last start is looked for, step by step: most schedules are daily.
_LOOK_BACK_DAYS = (2, 9, 32, HORIZON_DAYS)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Starts by a cron expression on the wall clock of a place."""

    cron: str
    zone: ZoneInfo


class CronFields(msgspec.Struct, frozen=True, kw_only=True):
    """A cron expression taken apart, for those who write schedules in other words."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  #: Sunday is 0
    either_day: bool  #: whether a day counts that is named as a day or as a weekday; else it must be both


class ClockChange(msgspec.Struct, frozen=True, kw_only=True):
    """A scheduled time that the wall clock skips or shows twice."""

    at: datetime  #: as written in the schedule, without a zone
    skipped: bool  #: False = shown twice
    starts_at: float  #: when the start happens instead, or the first time


def checked_cron(text: str) -> str:
    """The expression with single spaces. Raises ValueError where it is none, or never comes true."""
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
    """The fields; None where they name a last day, or weekdays by their place in the month."""
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
    """The starts after an instant, in order; endless but for schedules that end."""
    begun = datetime.fromtimestamp(after, schedule.zone)
    for start in _simulated(schedule.cron, begun):
        # The local time alone cannot tell the second showing of an hour from the first.
        if (at := start.timestamp()) > after:
            yield at


def next_start(schedule: Schedule, after: float) -> float | None:
    """The first start after an instant; None = there is none."""
    return next(starts(schedule, after), None)


def last_start(schedule: Schedule, now: float) -> float | None:
    """The latest start up to an instant; None = there was none for over a year."""
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
    """The scheduled times of the coming days that a clock change skips or doubles."""
    minute, hour = schedule.cron.split()[:2]
    if minute.startswith("*") or hour.startswith("*"):
        return []  # these go by elapsed time, and never fall into the change
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
    """The expression's times after another; loaded late, for most commands ask for none."""
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
