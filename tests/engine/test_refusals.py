"""One row that is not allowed, or one sign-in that is refused, is that row's and that moment's alone."""

import contextlib
from typing import Any

import pytest

from batchexport.errors import AuthenticationError, ForbiddenError, QuotaError
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import FakeCloud


def run(
    bench: Bench, faults: dict[int, str], *, rows: int = 20, **limits: Any
) -> tuple[list[str], FakeCloud]:
    ids = volume_ids(rows)
    bench.load(ids)
    cloud = FakeCloud(faults={ids[index]: [fault] * 100 for index, fault in faults.items()})
    bench.run(cloud, **limits)
    return [bench.states()[volume_id] for volume_id in ids], cloud


REASONS = {
    "forbidden": ("blocked by a policy", 403),
    "quota": ("Requested 500G, quota is 1000G and 900G has been consumed", 413),
}


@pytest.mark.parametrize("fault", REASONS)
@pytest.mark.parametrize("concurrency", [1, 4, 16])
@pytest.mark.parametrize("forbidden", [{0}, {9}, {19}, {0, 1}, {4, 5, 6, 7}, {17, 18, 19}])
def test_rows_that_are_not_allowed_fail_with_their_words_and_the_others_go(
    bench: Bench, forbidden: set[int], concurrency: int, fault: str
) -> None:
    states, cloud = run(
        bench, dict.fromkeys(forbidden, fault), concurrency=concurrency, max_exports=concurrency
    )
    assert [index for index, state in enumerate(states) if state == "failed"] == sorted(forbidden)
    assert states.count("succeeded") == 20 - len(forbidden)
    assert all(len(cloud.exports_of(volume_id)) <= 1 for volume_id in volume_ids(20))
    job = bench.jobs()[volume_ids(20)[min(forbidden)]]
    assert (job.reason, job.status) == REASONS[fault]


@pytest.mark.parametrize("fault", REASONS)
@pytest.mark.parametrize("rows", [1, 2, 3, 20])
@pytest.mark.parametrize("concurrency", [1, 16])
def test_where_nothing_is_allowed_the_run_stops_soon_and_fails_no_row(
    bench: Bench, rows: int, concurrency: int, fault: str
) -> None:
    with pytest.raises((ForbiddenError, QuotaError)):
        run(bench, dict.fromkeys(range(rows), fault), rows=rows, concurrency=concurrency)
    assert set(bench.states().values()) == {"pending"}


@pytest.mark.parametrize("fault", REASONS)
def test_rights_that_are_taken_away_or_a_quota_that_is_used_up_stop_the_run_and_fail_no_row(
    bench: Bench, fault: str
) -> None:
    with pytest.raises((ForbiddenError, QuotaError)):
        run(bench, dict.fromkeys(range(5, 40), fault), rows=40, concurrency=1, max_exports=3)
    states = list(bench.states().values())
    assert states.count("failed") == 0
    assert states.count("pending") == 35


def test_sign_ins_that_are_refused_now_and_then_stop_nothing(bench: Bench) -> None:
    ids = volume_ids(30)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["flapping", None] for volume_id in ids[::3]})
    bench.run(cloud, concurrency=4)
    assert set(bench.states().values()) == {"succeeded"}
    assert all(job.attempts == 1 for job in bench.jobs().values())


@pytest.mark.parametrize("fault", ["flapping", "signed out"])
def test_a_sign_in_that_stays_refused_stops_the_run_after_a_few_tries(bench: Bench, fault: str) -> None:
    ids = volume_ids(30)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: [fault] * 100 for volume_id in ids})
    with pytest.raises(AuthenticationError):
        bench.run(cloud, concurrency=4)
    assert len(cloud.posts) <= 24
    assert set(bench.states().values()) == {"pending"}


@pytest.mark.parametrize("concurrency", [1, 4])
def test_many_rows_that_are_not_allowed_stop_no_run_while_others_are_taken_between(
    bench: Bench, concurrency: int
) -> None:
    forbidden = set(range(0, 40, 2))
    states, _ = run(
        bench, dict.fromkeys(forbidden, "forbidden"), rows=40, concurrency=concurrency, max_exports=40
    )
    assert {index for index, state in enumerate(states) if state == "failed"} == forbidden
    assert states.count("succeeded") == 20


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize(("every", "fault"), [(1, "forbidden"), (2, "forbidden"), (4, "quota")])
def test_rows_that_are_never_allowed_keep_no_later_run_from_the_rows_behind_them(
    bench: Bench, every: int, fault: str, concurrency: int
) -> None:
    """Those that wait come first in the next process, which has seen no other row accepted yet."""
    ids = volume_ids(60)
    bench.load(ids)
    forbidden = set(ids[:14]) | set(ids[14:40:every])
    cloud = FakeCloud(faults={volume_id: [fault] * 1000 for volume_id in forbidden})
    for _ in range(16):
        with contextlib.suppress(ForbiddenError, QuotaError):
            bench.run(cloud, concurrency=concurrency)
            break
    states = bench.states()
    assert {volume_id for volume_id, state in states.items() if state == "succeeded"} == set(ids) - forbidden
    assert {volume_id for volume_id, state in states.items() if state == "failed"} == forbidden
