"""When exports may begin: nightly hours by the wall clock of a place, right across its clock changes. Pure.

A session is one night's opening. Its times are seconds since the epoch, so that nothing but this module and
`schedule` ever reckons with local time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

DAY_MINUTES = 24 * 60
EVERY_DAY = frozenset(range(7))
#: How far ahead an opening is looked for: more than a year of blackout is a mistake, not a window.
HORIZON_DAYS = 400
#: Longest default wait for exports that outlast the window: most end within the hour.
DEFAULT_GRACE_S = 3600.0


class DateRange(msgspec.Struct, frozen=True, kw_only=True):
    """Calendar days from `first` to `last`, both included."""

    first: date
    last: date

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Hours of the wall clock in which exports may begin and are expected to end."""

    opens_min: int  #: minutes after midnight
    closes_min: int  #: likewise; not after `opens_min` = on the next day
    zone: ZoneInfo
    days: frozenset[int] = EVERY_DAY  #: of the opening; Monday is 0
    blackout: tuple[DateRange, ...] = ()  #: calendar days without any session, cut out of those around them
    grace_s: float = DEFAULT_GRACE_S  #: how long after the close running exports are watched


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One opening of a window."""

    night: date  #: local date of the opening: the night's name
    opens_at: float
    closes_at: float
    watched_until: float


def session_on(window: Window, day: date) -> Session | None:
    """The session that opens on this local date, or None where there is none."""
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
    return Session(
        night=day, opens_at=opens_at, closes_at=closes_at, watched_until=closes_at + window.grace_s
    )


def session_at(window: Window, now: float) -> Session | None:
    """The session that is open at `now`, else the one whose grace lasts; None = closed."""
    today = datetime.fromtimestamp(now, window.zone).date()
    # A session lasts a day at most, its grace hardly more: no older one can matter.
    found = [session_on(window, today - timedelta(days=back)) for back in range(4)]
    near = [each for each in found if each is not None and each.opens_at <= now < each.watched_until]
    return max(near, key=lambda each: (now < each.closes_at, each.opens_at), default=None)


def next_session(window: Window, now: float) -> Session | None:
    """The first session that opens after `now`; None = none within the next 400 days."""
    today = datetime.fromtimestamp(now, window.zone).date()
    for ahead in range(-1, HORIZON_DAYS):
        session = session_on(window, today + timedelta(days=ahead))
        if session is not None and session.opens_at > now:
            return session
    return None


def instant(day: date, minutes: int, zone: ZoneInfo) -> float:
    """Seconds since the epoch at which the wall clock shows so many minutes after midnight of `day`.

    A time that the clock shows twice counts the first time; one that it skips is the moment of the skip.
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
