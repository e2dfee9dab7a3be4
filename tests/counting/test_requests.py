"""What a run costs the cloud, counted in requests."""

import pytest

from batchexport.model import JobState
from tests.counting.counted import PAGE, PagedCloud
from tests.engine.conftest import volume_ids

ROWS = 1000
LOOKS = 10


def run(bench, cloud):
    bench.load(volume_ids(ROWS))
    bench.run(cloud, max_exports=ROWS, concurrency=200, poll_interval_s=10.0)
    assert set(bench.states().values()) == {JobState.SUCCEEDED}
    assert cloud.calls["post"] == ROWS
    return cloud.requests - ROWS


@pytest.mark.parametrize("others", [0, 5 * ROWS])
def test_watching_all_rows_for_ten_looks_costs_few_pages_whoever_else_has_images(bench, others):
    cloud = PagedCloud(upload_s=LOOKS * 10.0 - 5, others=others)
    pages = ROWS // PAGE
    # The volumes once before and every so many looks, the images each look and once when they are done.
    others_before = 2 * others // PAGE  # those of the first minute are among the first that are asked for
    assert run(bench, cloud) <= 5 * pages + 2 * LOOKS + others_before


def test_watching_longer_costs_looks_and_not_rows(bench, tmp_path):
    short, long = (PagedCloud(upload_s=LOOKS * times * 10.0 - 5) for times in (1, 3))
    first = run(bench, short)
    second = run(type(bench)(tmp_path / "again.state"), long)
    pages = ROWS // PAGE
    assert second - first <= 2 * LOOKS * (1 + pages / (ROWS / 1000)) + pages
