import pytest

from batchexport.report.text import (
    count_of,
    display_width,
    duration,
    iso_utc,
    number,
    one_line,
    padded,
    truncate_middle,
    wrapped,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (45.4, "45 s"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (100_801, "1 d 4 h"),
    ],
)
def test_a_duration_reads_in_its_two_largest_units(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_thousands_are_set_apart() -> None:
    assert number(1234567.4) == "1,234,567"


def test_one_thing_is_not_a_plural() -> None:
    assert [count_of(value, "row") for value in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]


def test_times_are_utc_and_say_so() -> None:
    assert iso_utc(1_790_000_000.9) == "2026-09-21T14:13:20Z"


def test_no_time_is_an_empty_text() -> None:
    assert iso_utc(None) == ""


def test_a_reason_of_many_lines_becomes_one_line_of_the_width() -> None:
    assert one_line("the volume\n is in-use", 80) == "the volume is in-use"
    assert one_line("abcdef", 4) == "abc…"
    assert one_line(None, 4) == ""


def test_a_chinese_character_takes_two_columns_and_an_accent_none() -> None:
    assert [display_width(text) for text in ("abc", "磁盘", "e\u0301")] == [3, 4, 1]
    assert padded("磁盘", 6) == "磁盘  "


def test_a_long_name_is_cut_by_the_columns_it_takes() -> None:
    assert one_line("磁盘备份", 6) == "磁盘…"
    assert one_line("磁盘备份", 8) == "磁盘备份"


def test_nothing_that_steers_a_terminal_is_left() -> None:
    assert one_line("a\x1b[2Jb\u202ec", 40) == "a[2Jbc"


def test_long_texts_are_wrapped_and_end_after_some_lines() -> None:
    assert wrapped("one two three", 8) == ["one two", "three"]
    assert wrapped("数据库 数据库", 7) == ["数据库", "数据库"]
    assert wrapped("a" * 20, 8) == ["aaaaaaa…"]
    assert wrapped("a b c d", 1, max_lines=2) == ["a", "…"]
    assert wrapped(None, 8) == []


def test_names_are_cut_in_the_middle_by_columns() -> None:
    assert truncate_middle("volume-0001-data", 9) == "volu…data"
    assert truncate_middle("数据库数据库", 7) == "数据…库"
    assert truncate_middle("short", 9) == "short"
