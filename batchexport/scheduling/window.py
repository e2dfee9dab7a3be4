"""When exports may start: nightly hours of a time zone, correct across daylight-saving changes. Pure.

A window opens once a night. An opening's times are seconds since the epoch, so that only this module and
`cron` deal with local time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

DAY_MINUTES = 24 * 60
EVERY_DAY = frozenset(range(7))
#: How far ahead the next opening is searched. A blackout of more than a year is a mistake.
HORIZON_DAYS = 400
#: How long exports that outlast the window are polled by default; most end within the hour.
DEFAULT_GRACE_S = 3600.0


class DateRange(msgspec.Struct, frozen=True, kw_only=True):
    """Calendar days from `first` to `last`, both included."""

    first: date
    last: date

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Wall-clock hours in which exports may start and are expected to end."""

    opens_min: int  #: minutes after midnight
    closes_min: int  #: likewise; if not later than `opens_min`, it is on the next day
    zone: ZoneInfo
    days: frozenset[int] = EVERY_DAY  #: of the opening; Monday is 0
    blackout: tuple[
        DateRange, ...
    ] = ()  #: calendar days on which the window stays closed, midnight to midnight
    grace_s: float = DEFAULT_GRACE_S  #: how long after the close running exports are still polled


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """One opening of a window."""

    night: date  #: local date on which it opens; names the night
    opens_at: float
    closes_at: float
    watched_until: float


def opening_on(window: Window, day: date) -> Opening | None:
    """The opening on this local date; None = the window stays closed."""
    if day.weekday() not in window.days:
        return None
    next_day = day + timedelta(days=1)
    past_midnight = window.closes_min <= window.opens_min
    opens_at = instant(day, window.opens_min, window.zone)
    closes_at = instant(next_day if past_midnight else day, window.closes_min, window.zone)
    midnight_at = instant(next_day, 0, window.zone)
    if _is_blacked_out(window, day):
        opens_at = max(opens_at, midnight_at)
    if _is_blacked_out(window, next_day):
        closes_at = min(closes_at, midnight_at)
    if opens_at >= closes_at:
        return None
    return Opening(
        night=day, opens_at=opens_at, closes_at=closes_at, watched_until=closes_at + window.grace_s
    )


def opening_at(window: Window, now: float) -> Opening | None:
    """The opening at `now`, else the one whose grace period lasts; None = closed."""
    today = datetime.fromtimestamp(now, window.zone).date()
    # An opening lasts a day at most, its grace period hardly longer: older ones cannot matter.
    found = [opening_on(window, today - timedelta(days=back)) for back in range(4)]
    near = [each for each in found if each is not None and each.opens_at <= now < each.watched_until]
    return max(near, key=lambda each: (now < each.closes_at, each.opens_at), default=None)


def next_opening(window: Window, now: float) -> Opening | None:
    """The first opening after `now`; None = none within the next 400 days."""
    today = datetime.fromtimestamp(now, window.zone).date()
    for ahead in range(-1, HORIZON_DAYS):
        opening = opening_on(window, today + timedelta(days=ahead))
        if opening is not None and opening.opens_at > now:
            return opening
    return None


def instant(day: date, minutes: int, zone: ZoneInfo) -> float:
    """Seconds since the epoch at which the wall clock shows `minutes` after midnight of `day`.

    Of a time that the clock shows twice, the first; for a time it skips, the moment of the change.
    """
    extra_days, minutes = divmod(minutes, DAY_MINUTES)
    wall_time = time(minutes // 60, minutes % 60)
    wall = datetime.combine(day + timedelta(days=extra_days), wall_time, zone)
    if wall.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return wall.timestamp()
    # Skipped: the offset before the change puts it after the change, and the other way round.
    return change_between(wall.replace(fold=1).timestamp(), wall.timestamp(), zone)


def change_between(before: float, after: float, zone: ZoneInfo) -> float:
    """The moment in (before, after] at which the zone's offset becomes that of `after`, to the second."""
    low, high = int(before), int(after)
    target = _offset(high, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(middle, zone) == target else (middle, high)
    return float(high)


def _offset(at: int, zone: ZoneInfo) -> timedelta | None:
    return datetime.fromtimestamp(at, zone).utcoffset()


def _is_blacked_out(window: Window, day: date) -> bool:
    return any(day in span for span in window.blackout)
