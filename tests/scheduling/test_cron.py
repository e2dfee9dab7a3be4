from collections.abc import Iterator
from datetime import UTC, datetime, timezone
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from batchexport.scheduling.cron import (
    Schedule,
    checked_cron,
    clock_changes,
    fields_of,
    from_window,
    last_start,
    next_start,
    starts,
    told,
)
from batchexport.scheduling.window import Window

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: timezone | ZoneInfo = BERLIN, fold: int = 0) -> Any:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def berlin(cron: str) -> Schedule:
    return Schedule(cron=cron, zone=BERLIN)


def local(times: list[float] | Iterator[Any]) -> list[str]:
    return [datetime.fromtimestamp(each, BERLIN).strftime("%m-%d %H:%M %Z") for each in times]


def test_every_night_starts_once_across_both_changes() -> None:
    nightly = berlin("0 22 * * *")
    for begin in ("2027-03-20T12:00", "2027-10-25T12:00"):
        times = list(islice(starts(nightly, at(begin)), 14))
        assert [text[6:11] for text in local(times)] == ["22:00"] * 14
        assert len({text[:5] for text in local(times)}) == 14


def test_a_skipped_time_starts_at_the_change_and_a_doubled_one_once() -> None:
    early = berlin("30 2 * * *")
    assert local(islice(starts(early, at("2027-03-27T12:00")), 2)) == ["03-28 03:00 CEST", "03-29 02:30 CEST"]
    assert local(islice(starts(early, at("2027-10-30T12:00")), 2)) == ["10-31 02:30 CEST", "11-01 02:30 CET"]


def test_between_the_two_showings_of_an_hour_no_start_lies_in_the_past() -> None:
    now = at("2027-10-31T02:10", fold=1)
    assert next_start(berlin("30 2 * * *"), now) == at("2027-11-01T02:30")


@pytest.mark.parametrize(
    ("cron", "now", "last"),
    [
        ("0 22 * * *", "2027-05-02T12:00", "2027-05-01T22:00"),
        ("0 22 * * *", "2027-05-02T22:00", "2027-05-02T22:00"),
        ("0 22 * * mon", "2027-05-02T12:00", "2027-04-26T22:00"),
        ("0 22 1 * *", "2027-05-31T12:00", "2027-05-01T22:00"),
        ("0 22 24 12 *", "2027-05-31T12:00", "2026-12-24T22:00"),
    ],
)
def test_the_last_start_is_found_however_seldom_they_are(cron: str, now: str, last: str) -> None:
    assert last_start(berlin(cron), at(now)) == at(last)


def test_a_leap_day_may_be_too_long_ago() -> None:
    assert last_start(berlin("0 0 29 2 *"), at("2027-05-01T00:00")) is None


def test_times_of_clock_changes_are_named() -> None:
    found = clock_changes(berlin("0,30 2 * * *"), at("2027-01-01T00:00"))
    assert [(str(each.at), each.skipped, told(each.starts_at, BERLIN)) for each in found] == [
        ("2027-03-28 02:00:00", True, "Sun 2027-03-28 03:00 CEST (01:00 UTC)"),
        ("2027-03-28 02:30:00", True, "Sun 2027-03-28 03:00 CEST (01:00 UTC)"),
        ("2027-10-31 02:00:00", False, "Sun 2027-10-31 02:00 CEST (00:00 UTC)"),
        ("2027-10-31 02:30:00", False, "Sun 2027-10-31 02:30 CEST (00:30 UTC)"),
    ]


@pytest.mark.parametrize("cron", ["0 22 * * *", "30 * * * *", "*/15 2 * * *", "30 2 * 6 *"])
def test_times_that_no_change_touches_are_not(cron: str) -> None:
    assert clock_changes(berlin(cron), at("2027-01-01T00:00")) == []


def test_a_place_without_changes_has_none() -> None:
    assert clock_changes(Schedule(cron="30 2 * * *", zone=ZoneInfo("UTC")), 0.0) == []


def test_a_window_starts_at_its_opening_on_its_days() -> None:
    window = Window(opens_min=22 * 60 + 30, closes_min=0, zone=BERLIN, days=frozenset({4, 6}))
    assert from_window(window).cron == "30 22 * * 5,0"
    assert local(islice(starts(from_window(window), at("2027-05-01T00:00")), 2)) == [
        "05-02 22:30 CEST",
        "05-07 22:30 CEST",
    ]


def test_a_schedule_may_come_to_no_time() -> None:
    assert checked_cron("  0  22 * *  MON-fri ") == "0 22 * * MON-fri"
    for wrong in ("0 22 * *", "0 22 * * * *", "61 * * * *", "0 0 30 2 *", "@daily", ""):
        with pytest.raises(ValueError, match="is no schedule"):
            checked_cron(wrong)


def test_fields_are_told_apart() -> None:
    fields = fields_of(berlin("*/20 1-3 * jan sun,7"))
    assert sorted(fields.minutes) == [0, 20, 40]
    assert sorted(fields.hours) == [1, 2, 3]
    assert fields.weekdays == {0}
    assert not fields.either_day
    assert fields_of(berlin("0 0 1 * mon")).either_day


@pytest.mark.parametrize("cron", ["0 0 L * *", "0 0 LW * *", "0 0 * * 5#2", "0 0 * * 5L"])
def test_days_by_their_place_in_the_month_have_no_fields(cron: str) -> None:
    assert fields_of(berlin(cron)) is None


def test_an_instant_is_told_here_and_in_utc() -> None:
    assert told(at("2027-05-01T22:00"), BERLIN) == "Sat 2027-05-01 22:00 CEST (20:00 UTC)"
    assert told(at("2027-05-01T00:30", UTC), ZoneInfo("America/New_York")) == (
        "Fri 2027-04-30 20:30 EDT (2027-05-01 00:30 UTC)"
    )
