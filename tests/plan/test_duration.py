from typing import Any

import pytest

from batchexport.plan.summary import Expected, expected


def span(**changes: Any) -> Expected:
    given = {"rows": 100, "gib": 1000, "max_gib": 10, "max_exports": 10, "requests_per_second": 0.0}
    return expected(**(given | changes))


def test_volumes_share_the_places_there_are() -> None:
    assert span().slow_s == pytest.approx(100 * 1024 / 40)
    assert span().fast_s == pytest.approx(100 * 1024 / 320)


def test_the_largest_volume_alone_may_take_longest() -> None:
    assert span(max_gib=500).slow_s == pytest.approx(500 * 1024 / 40)


def test_a_list_shorter_than_the_places_does_not_use_them_all() -> None:
    assert span(rows=2, gib=1000).slow_s == pytest.approx(500 * 1024 / 40)


def test_many_small_volumes_take_as_long_as_their_requests() -> None:
    assert span(rows=100_000, gib=10, max_gib=1, requests_per_second=5).slow_s == 20_000


def test_nothing_takes_no_time() -> None:
    assert span(rows=0, gib=0, max_gib=0).slow_s == 0
