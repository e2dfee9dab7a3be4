"""Looks are put off until something can have happened, and never for ever."""

import pytest

from batchexport.engine.expected_times import MAX_WAIT_S, ExpectedTimes


@pytest.mark.parametrize(
    ("took", "ages", "wait_s"),
    [
        ([], [0.0], 10.0),  # nothing is known
        ([100.0], [0.0], 95.0),
        ([100.0, 40.0], [0.0], 38.0),  # the shortest
        ([100.0], [90.0, 0.0], 5.0),  # the oldest
        ([100.0], [500.0], 5.0),  # late: in short steps …
        ([400.0], [500.0], 20.0),  # … of a share of what it takes
        ([1e6], [0.0], MAX_WAIT_S),
        ([0.0], [0.0], 5.0),
        ([100.0], [], 5.0),
        ([10.0, *[100.0] * 8], [0.0], 95.0),  # long ago
    ],
)
def test_when_to_look(took: list[float], ages: list[float], wait_s: float) -> None:
    expected = ExpectedTimes()
    for seconds in took:
        expected.took("copies", seconds)
    assert expected.wait_s("copies", ages, step_s=10.0) == wait_s
    assert expected.wait_s("others", ages, step_s=10.0) == 10.0
