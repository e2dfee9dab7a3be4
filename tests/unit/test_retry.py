import pytest

from batchexport.retry import Backoff


@pytest.mark.parametrize(
    ("failures", "draw", "expected_s"),
    [
        (1, 0.0, 5.0),
        (1, 1.0, 10.0),
        (2, 0.0, 10.0),
        (3, 0.5, 30.0),
        (4, 0.0, 30.0),
        (5000, 0.0, 30.0),
        (0, 0.0, 5.0),
    ],
)
def test_a_wait_doubles_up_to_its_cap_and_keeps_its_upper_half(
    failures: int, draw: float, expected_s: float
) -> None:
    assert Backoff(first_s=10.0, cap_s=60.0).delay_s(failures, draw) == expected_s


def test_waits_that_nobody_names_are_spread_within_the_upper_half() -> None:
    waits = {Backoff(first_s=8.0, cap_s=60.0).delay_s(1) for _ in range(50)}
    assert len(waits) > 10
    assert all(4.0 <= wait <= 8.0 for wait in waits)
