import pytest

from batchexport.model import JobState
from batchexport.report.run_report import Sizes
from tests.report.test_timeline import job


def test_rows_stand_in_the_class_of_their_size_small_to_large_unknown_last() -> None:
    sizes = Sizes()
    for number, gib in enumerate([None, 5000, 1024, 11, 10, 1]):
        sizes.add(job(number, JobState.PENDING, gib=gib))
    assert [(each.name, each.rows.total()) for each in sizes.filled()] == [
        ("up to 10 GiB", 2),
        ("11–50 GiB", 1),
        ("501–1,024 GiB", 1),
        ("over 1,024 GiB", 1),
        ("not known", 1),
    ]


def test_times_and_speeds_are_those_of_what_succeeded() -> None:
    sizes = Sizes()
    for number, took_s in enumerate([10, 20, 90]):
        sizes.add(job(number, JobState.SUCCEEDED, begin=0, end=took_s, gib=8))
    sizes.add(job(4, JobState.FAILED, begin=0, end=1000, gib=8))
    (found,) = sizes.filled()
    assert (found.median_s, found.longest_s, found.gib) == (20, 90, 24)
    assert found.mib_per_second == pytest.approx(24 * 1024 / 120)
    assert sorted(sizes.took_s()) == [10, 20, 90]


def test_what_is_not_known_is_none() -> None:
    sizes = Sizes()
    sizes.add(job(1, JobState.SUCCEEDED, end=5, gib=None))
    (found,) = sizes.filled()
    assert (found.median_s, found.longest_s, found.mib_per_second) == (None, None, None)
