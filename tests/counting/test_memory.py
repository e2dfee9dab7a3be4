"""What a run holds in memory: rows under way, never the list."""

import gc
from pathlib import Path
from typing import Any

import pytest

from batchexport import intake
from batchexport.config import Settings
from batchexport.model import Job, JobRow, JobRows, JobState
from batchexport.store.sqlite.builder import SqliteBuilder
from tests.counting.counted import PagedCloud, alive
from tests.engine.conftest import Bench, volume_ids

ROWS = 800
MAX_EXPORTS, CONCURRENCY = 40, 10


def test_a_run_holds_the_rows_under_way_and_no_others(bench: Bench) -> None:
    bench.load(volume_ids(ROWS))
    most = 0
    changes = 0
    gc.collect()
    of_others = alive(Job)  # what earlier tests of this process have left

    def sample(job: Job, before: JobState, after: JobState) -> None:
        nonlocal most, changes
        changes += 1
        if changes % 100 == 0:
            most = max(most, alive(Job) - of_others)

    bench.run(PagedCloud(), on_change=sample, max_exports=MAX_EXPORTS, concurrency=CONCURRENCY)
    assert changes >= 3 * ROWS
    # Each row under way may be there twice: as it was claimed, in a change not written yet, and as it is now.
    assert most <= 2 * (MAX_EXPORTS + 3 * CONCURRENCY) + 100


def held() -> Any:
    """How many rows of a list there are in memory."""
    objects = gc.get_objects()
    together = sum(len(each) for each in objects if type(each) is JobRows)
    return together + sum(type(each) is JobRow for each in objects)


@pytest.mark.parametrize("line", ["{0},image-{0}", " {0},image-{0}"], ids=["together", "one by one"])
def test_a_list_is_loaded_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    lines = ["volume_id,image_name", *map(line.format, volume_ids(20_000))]
    (tmp_path / "long.csv").write_text("\n".join(lines))
    most = calls = 0

    def counted(add: Any) -> Any:
        def counting(*given: Any) -> Any:
            nonlocal most, calls
            calls += 1
            if calls % (5000 if line.startswith(" ") else 20) == 0:
                most = max(most, held())
            return add(*given)

        return counting

    for name in ("add", "add_all"):
        monkeypatch.setattr(SqliteBuilder, name, counted(getattr(SqliteBuilder, name)))
    prepared = intake.prepare(tmp_path / "long.csv", tmp_path / "long.state", Settings())
    assert prepared.rows == 20_000
    assert 1 <= most <= 1000
