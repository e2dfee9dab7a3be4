from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from batchexport.scheduling.window import (
    DateRange,
    Opening,
    Window,
    instant,
    next_opening,
    opening_at,
    opening_on,
)

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Window(opens_min=22 * 60, closes_min=6 * 60, zone=BERLIN, grace_s=0.0)
SPRING, AUTUMN = date(2027, 3, 27), date(2027, 10, 30)  # the clocks change in the night that begins here


def at(text: str, zone: timezone | ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def window(hours: str = "22:00-06:00", **kept: Any) -> Window:
    opens, closes = (int(part[:2]) * 60 + int(part[3:]) for part in hours.split("-"))
    return Window(opens_min=opens, closes_min=closes, **{"zone": BERLIN, "grace_s": 0.0, **kept})


@pytest.mark.parametrize(("night", "hours"), [(SPRING, 7), (AUTUMN, 9), (date(2027, 5, 1), 8)])
def test_a_night_has_7_8_or_9_hours(night: date, hours: int) -> None:
    opening = opening_on(NIGHT, night)
    assert opening.closes_at - opening.opens_at == hours * 3600


@pytest.mark.parametrize("hours", ["22:00-06:00", "23:30-02:30", "02:30-05:00", "01:00-02:15"])
@pytest.mark.parametrize(
    ("zone", "first"),
    [
        ("Europe/Berlin", SPRING),
        ("Europe/Berlin", AUTUMN),
        ("America/New_York", date(2027, 3, 13)),
        ("America/New_York", date(2027, 11, 6)),
        ("Australia/Lord_Howe", date(2027, 4, 3)),  # half an hour
        ("Australia/Lord_Howe", date(2027, 10, 2)),
    ],
)
def test_minute_by_minute_it_opens_and_closes_once_and_keeps_to_the_wall_clock(
    zone: str, first: date, hours: str
) -> None:
    place = window(hours, zone=ZoneInfo(zone))
    begin = int(datetime(first.year, first.month, first.day, 12, tzinfo=place.zone).timestamp())
    minutes = range(begin, begin + 20 * 3600, 60)
    states = [opening_at(place, now) is not None for now in minutes]
    changes = [after for before, after in pairwise(states) if before != after]
    assert changes == [True, False]
    for now, is_open in zip(minutes, states, strict=True):
        wall = datetime.fromtimestamp(now, place.zone)
        # When the clock shows the opening twice, it stays open from the first time on.
        if is_open and not wall.fold:
            assert is_inside(place, wall.hour * 60 + wall.minute), wall


def is_inside(place: Window, minute: int) -> bool:
    if place.closes_min <= place.opens_min:
        return minute >= place.opens_min or minute < place.closes_min
    return place.opens_min <= minute < place.closes_min


def test_a_time_that_is_skipped_is_the_moment_of_the_skip() -> None:
    assert instant(date(2027, 3, 28), 150, BERLIN) == at("2027-03-28T01:00", UTC)


def test_a_time_that_comes_twice_is_the_first() -> None:
    assert instant(date(2027, 10, 31), 150, BERLIN) == at("2027-10-31T00:30", UTC)


def test_minutes_beyond_a_day_are_those_of_the_next() -> None:
    assert instant(date(2027, 5, 1), 24 * 60 + 30, BERLIN) == at("2027-05-02T00:30")


def test_days_are_those_of_the_opening() -> None:
    weekdays = window(days=frozenset(range(5)))
    assert opening_at(weekdays, at("2027-05-01T05:00"))  # Saturday morning belongs to Friday
    assert opening_at(weekdays, at("2027-05-01T23:00")) is None
    assert opening_at(weekdays, at("2027-05-03T05:00")) is None
    assert opening_at(weekdays, at("2027-05-03T22:00")).night == date(2027, 5, 3)


def test_the_end_is_not_in_the_window() -> None:
    assert opening_at(NIGHT, at("2027-05-02T05:59:59"))
    assert opening_at(NIGHT, at("2027-05-02T06:00")) is None


def test_a_whole_day_is_always_open_and_changes_its_night_at_midnight() -> None:
    always = window("00:00-00:00")
    assert opening_at(always, at("2027-05-01T23:59")).night == date(2027, 5, 1)
    assert opening_at(always, at("2027-05-02T00:00")).night == date(2027, 5, 2)


def test_the_grace_belongs_to_the_night_that_closed() -> None:
    patient = window(grace_s=3600.0)
    opening = opening_at(patient, at("2027-05-02T06:30"))
    assert opening == Opening(
        night=date(2027, 5, 1),
        opens_at=at("2027-05-01T22:00"),
        closes_at=at("2027-05-02T06:00"),
        watched_until=at("2027-05-02T07:00"),
    )
    assert opening_at(patient, at("2027-05-02T07:00")) is None


def test_an_open_session_comes_before_the_grace_of_the_last() -> None:
    long = window("22:00-20:00", grace_s=86_400.0)
    assert opening_at(long, at("2027-05-03T21:00")).night == date(2027, 5, 2)
    assert opening_at(long, at("2027-05-03T22:30")).night == date(2027, 5, 3)


def test_nothing_is_open_on_a_blacked_out_calendar_day() -> None:
    out = DateRange(first=date(2027, 5, 2), last=date(2027, 5, 3))
    blacked = window(blackout=(out,))
    minutes = range(int(at("2027-05-01T12:00")), int(at("2027-05-04T12:00")), 60)
    open_days = {datetime.fromtimestamp(now, BERLIN).date() for now in minutes if opening_at(blacked, now)}
    assert open_days == {date(2027, 5, 1), date(2027, 5, 4)}
    assert opening_on(blacked, date(2027, 5, 1)).closes_at == at("2027-05-02T00:00")
    assert opening_on(blacked, date(2027, 5, 2)) is None
    assert opening_on(blacked, date(2027, 5, 3)).opens_at == at("2027-05-04T00:00")


def test_the_next_session_is_the_first_that_opens_later() -> None:
    assert next_opening(NIGHT, at("2027-05-01T21:59")).night == date(2027, 5, 1)
    assert next_opening(NIGHT, at("2027-05-01T22:00")).night == date(2027, 5, 2)


def test_a_window_that_never_opens_has_no_next_session() -> None:
    today = date(2027, 5, 1)
    ever = DateRange(first=today - timedelta(days=9), last=today + timedelta(days=999))
    assert next_opening(window(blackout=(ever,)), at("2027-05-01T00:00")) is None
