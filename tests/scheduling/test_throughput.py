import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchexport.scheduling.throughput import DEFAULT_THROUGHPUT, OpenHours, Throughput, fit_throughput

HOUR = 3600.0


def test_until_enough_was_seen_the_first_pace_stands() -> None:
    assert fit_throughput([(10, 60.0), (20, 90.0)]) == DEFAULT_THROUGHPUT
    assert fit_throughput([(10, 0.0)] * 9) == DEFAULT_THROUGHPUT


def test_the_pace_is_the_line_through_sizes_and_durations() -> None:
    throughput = fit_throughput([(gib, 60 + 8.0 * gib) for gib in (10, 50, 100, 400)])
    assert throughput.base_s == pytest.approx(60)
    assert throughput.s_per_gib == pytest.approx(8)


def test_one_size_tells_the_pace_but_no_base() -> None:
    assert fit_throughput([(10, 100.0)] * 4) == Throughput(base_s=0.0, s_per_gib=10.0)


def test_noise_never_makes_data_free() -> None:
    assert fit_throughput([(10, 300.0), (100, 200.0), (1000, 100.0)]).s_per_gib > 0


def test_an_export_that_nobody_watched_teaches_nothing() -> None:
    seen = [(gib, 10.0 * gib) for gib in (10, 20, 30, 40)]
    assert fit_throughput([*seen, (10, 86_400.0)]) == fit_throughput(seen)


def test_more_than_expected_is_allowed_for() -> None:
    throughput = Throughput(base_s=60.0, s_per_gib=10.0)
    assert throughput.expected_s(100) == pytest.approx(1.2 * 1060)


@given(base_s=st.floats(0, 1000), s_per_gib=st.floats(0.1, 200), left_s=st.floats(-1000, 100_000))
def test_what_may_begin_is_expected_to_end_in_time(base_s: float, s_per_gib: float, left_s: float) -> None:
    throughput = Throughput(base_s=base_s, s_per_gib=s_per_gib)
    most = throughput.max_gib(left_s)
    assert most >= 0
    if most:
        assert throughput.expected_s(most) <= left_s * 1.0001
        assert throughput.expected_s(most + 1) > left_s * 0.9999


def test_what_may_begin_shrinks_to_nothing_before_the_close() -> None:
    hours = OpenHours(
        closes_at=8 * HOUR, watched_until=9 * HOUR, throughput=Throughput(base_s=60.0, s_per_gib=10.0)
    )
    sizes = [hours.max_gib_at(now * HOUR) for now in range(10)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 2394
    assert sizes[8:] == [0, 0]
