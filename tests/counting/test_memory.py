"""What a run holds in memory: rows under way, never the list."""

from batchexport import intake
from batchexport.config import Settings
from batchexport.model import Job, JobRow
from batchexport.store import Builder
from tests.counting.counted import PagedCloud, alive
from tests.engine.conftest import volume_ids

ROWS = 800
MAX_EXPORTS, CONCURRENCY = 40, 10


def test_a_run_holds_the_rows_under_way_and_no_others(bench):
    bench.load(volume_ids(ROWS))
    most = 0
    changes = 0

    def sample(job, before, after):
        nonlocal most, changes
        changes += 1
        if changes % 100 == 0:
            most = max(most, alive(Job))

    bench.run(PagedCloud(), on_change=sample, max_exports=MAX_EXPORTS, concurrency=CONCURRENCY)
    assert changes >= 3 * ROWS
    # Each row under way may be there twice: as it was claimed, in a change not written yet, and as it is now.
    assert most <= 2 * (MAX_EXPORTS + 3 * CONCURRENCY) + 100


def test_a_list_is_loaded_without_being_held(tmp_path, monkeypatch):
    lines = ["volume_id,image_name", *(f"{volume},image-{volume}" for volume in volume_ids(20_000))]
    (tmp_path / "long.csv").write_text("\n".join(lines))
    most = 0
    add = Builder.add

    def counted(self, row, name):
        nonlocal most
        add(self, row, name)
        if self.rows % 5000 == 0:
            most = max(most, alive(JobRow))

    monkeypatch.setattr(Builder, "add", counted)
    prepared = intake.prepare(tmp_path / "long.csv", tmp_path / "long.state", Settings())
    assert prepared.rows == 20_000
    assert 1 <= most <= 10
