import datetime
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from batchexport.report.html.svg import MAX_TIME_MARKS, axis_top, time_marks

EVENING = 1_790_028_000.0  # 2026-09-21T22:00:00Z


def words(span_s: int, *, zone: datetime.timezone | ZoneInfo = UTC, began_at: float = EVENING) -> list[str]:
    return [mark.words for mark in time_marks(began_at, began_at + span_s, zone)]


def test_marks_stand_at_round_times_of_the_clock() -> None:
    assert words(8 * 3600) == ["22:00", "00:00", "02:00", "04:00", "06:00"]
    assert words(300) == ["22:00", "22:01", "22:02", "22:03", "22:04", "22:05"]
    assert words(2) == ["22:00:00", "22:00:01", "22:00:02"]
    assert words(8 * 86400) == ["22 Sep", "24 Sep", "26 Sep", "28 Sep"]


def test_marks_follow_the_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert words(8 * 3600, zone=berlin)[0] == "00:00"
    first = time_marks(EVENING, EVENING + 8 * 3600, berlin)[0]
    assert first.share == 0


def test_a_mark_says_where_it_is() -> None:
    begin = EVENING - 1800
    assert [mark.share for mark in time_marks(begin, begin + 7200, UTC)] == [0.25 * n for n in range(5)]


@pytest.mark.parametrize("span_s", [1, 7, 100, 5000, 43000, 86400 * 3, 86400 * 40, 86400 * 900])
def test_marks_are_few_whatever_the_span(span_s: int) -> None:
    marks = time_marks(EVENING + 11, EVENING + 11 + span_s, UTC)
    assert len(marks) <= MAX_TIME_MARKS + 1
    assert all(0 <= mark.share <= 1 for mark in marks)


@pytest.mark.parametrize(
    ("most", "top"), [(0, 1), (0.4, 0.4), (1, 1), (7, 8), (11, 12), (3700, 4000), (97, 100)]
)
def test_an_axis_ends_at_a_round_amount(most: int, top: int) -> None:
    assert axis_top(most) == pytest.approx(top)
