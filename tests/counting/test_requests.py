"""What a run costs the cloud, counted in requests."""

from pathlib import Path

import pytest

from batchexport.engine import watch
from batchexport.model import JobState
from tests.counting.counted import PAGE, PagedCloud
from tests.engine.conftest import Bench, volume_ids

ROWS = 500
PAGES = ROWS // PAGE
LOOKS = 10
LOOK_EVERY_S = 10.0


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PAGE", PAGE)


def reads(path: Path, *, looks: int, others: int = 0) -> int:
    """The requests beside the exports themselves, where every image turns active after so many looks."""
    cloud = PagedCloud(upload_s=looks * LOOK_EVERY_S - 5, others=others)
    bench = Bench(path)
    bench.load(volume_ids(ROWS))
    bench.run(cloud, max_exports=ROWS, concurrency=100, poll_interval_s=LOOK_EVERY_S)
    assert set(bench.states().values()) == {JobState.SUCCEEDED}
    assert cloud.calls["post"] == ROWS
    return sum(cloud.calls.values()) - ROWS


def test_ten_looks_at_all_rows_cost_two_requests_each_and_a_few_pages(tmp_path: Path) -> None:
    # The volumes before and after, the names that are taken, and the images, twice for those of one second.
    assert reads(tmp_path / "a.state", looks=LOOKS) <= 2 * LOOKS + 6 * PAGES


def test_a_longer_wait_costs_looks_and_not_rows(tmp_path: Path) -> None:
    first, second = (reads(tmp_path / f"{times}.state", looks=times * LOOKS) for times in (1, 3))
    assert second - first <= 2 * (2 * LOOKS) + PAGES


def test_images_of_others_cost_nothing_once_they_are_older_than_the_run(tmp_path: Path) -> None:
    alone, among_others = (reads(tmp_path / f"{many}.state", looks=LOOKS, others=many) for many in (0, 1000))
    # They are listed once, when their names might be taken, and in the first looks, for they are just as new.
    assert among_others - alone <= 5 * (1000 // PAGE)
