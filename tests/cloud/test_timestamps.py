from __future__ import annotations

import pytest

from batchexport.cloud.http.responses import epoch_s, http_date_s, iso_utc, retry_after_s

MOMENT = 1_795_420_847.0  # 2026-11-23 08:00:47 UTC


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T08:00:47Z",
        "2026-11-23T08:00:47",
        "2026-11-23T08:00:47.000000",
        "2026-11-23T09:00:47+01:00",
    ],
)
def test_times_without_a_zone_are_utc(text: str) -> None:
    assert epoch_s(text) == MOMENT


def test_the_fraction_of_a_second_is_kept() -> None:
    assert epoch_s("2026-11-23T08:00:47.250000") == MOMENT + 0.25


@pytest.mark.parametrize("text", [None, "", "None", "yesterday", "2026-99-01"])
def test_what_is_no_time_is_none(text: str | None) -> None:
    assert epoch_s(text) is None


def test_a_filter_time_is_rounded_down_to_whole_seconds() -> None:
    assert iso_utc(MOMENT + 0.9) == "2026-11-23T08:00:47Z"


def test_an_http_date_is_read() -> None:
    assert http_date_s("Mon, 23 Nov 2026 08:00:47 GMT") == MOMENT


HUGE = "9" * 40


@pytest.mark.parametrize(
    "text", [None, "", "soon", f"Mon, {HUGE} Nov 2026 08:00:47 GMT", f"Mon, 23 Nov 2026 08:00:{HUGE} GMT"]
)
def test_a_broken_http_date_is_none(text: str | None) -> None:
    assert http_date_s(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Mon, 23 Nov 2026 08:01:47 GMT", 60.0),
        ("Mon, 23 Nov 2026 07:00:00 GMT", 0.0),
        ("inf", None),
        ("later", None),
        (f"Mon, {HUGE} Nov 2026 08:00:47 GMT", None),
        (None, None),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str | None, seconds: float | None) -> None:
    assert retry_after_s(text, now_s=MOMENT) == seconds
