import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchexport.pace import FIRST_PACE, OpenHours, Pace, learned

HOUR = 3600.0


def test_until_enough_was_seen_the_first_pace_stands():
    assert learned([(10, 60.0), (20, 90.0)]) == FIRST_PACE
    assert learned([(10, 0.0)] * 9) == FIRST_PACE


def test_the_pace_is_the_line_through_sizes_and_durations():
    pace = learned([(gib, 60 + 8.0 * gib) for gib in (10, 50, 100, 400)])
    assert pace.base_s == pytest.approx(60)
    assert pace.s_per_gib == pytest.approx(8)


def test_one_size_tells_the_pace_but_no_base():
    assert learned([(10, 100.0)] * 4) == Pace(base_s=0.0, s_per_gib=10.0)


def test_noise_never_makes_data_free():
    assert learned([(10, 300.0), (100, 200.0), (1000, 100.0)]).s_per_gib > 0


def test_an_export_that_nobody_watched_teaches_nothing():
    seen = [(gib, 10.0 * gib) for gib in (10, 20, 30, 40)]
    assert learned([*seen, (10, 86_400.0)]) == learned(seen)


def test_more_than_expected_is_allowed_for():
    pace = Pace(base_s=60.0, s_per_gib=10.0)
    assert pace.expected_s(100) == pytest.approx(1.2 * 1060)


@given(base_s=st.floats(0, 1000), s_per_gib=st.floats(0.1, 200), left_s=st.floats(-1000, 100_000))
def test_what_may_begin_is_expected_to_end_in_time(base_s, s_per_gib, left_s):
    pace = Pace(base_s=base_s, s_per_gib=s_per_gib)
    most = pace.most_gib(left_s)
    assert most >= 0
    if most:
        assert pace.expected_s(most) <= left_s * 1.0001
        assert pace.expected_s(most + 1) > left_s * 0.9999


def test_what_may_begin_shrinks_to_nothing_before_the_close():
    hours = OpenHours(closes_at=8 * HOUR, watched_until=9 * HOUR, pace=Pace(base_s=60.0, s_per_gib=10.0))
    sizes = [hours.most_gib(now * HOUR) for now in range(10)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 2394
    assert sizes[8:] == [0, 0]
