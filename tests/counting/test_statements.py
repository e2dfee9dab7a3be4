"""What a run asks of its state file: every statement by an index, many changes to a commit."""

import itertools
import re
import sqlite3
from typing import Any

import pytest

from tests.counting.counted import PagedCloud, statements
from tests.engine.conftest import Bench, volume_ids

ROWS = 400
#: Every second row meets some trouble, so that all kinds of statement are used.
TROUBLES = ["unavailable", "lost", "lost before", "throttled", "fails", "refused"]
#: Tables that have a row for each target or process, or hold what the statement brought along.
SMALL = re.compile(
    r"SCAN (target|tally|run|session|target_identity|sqlite_master|given|ended|json_each|\d* ?CONSTANT ROWS?"
    r"|\()"
)


def counted_run(bench: Bench, monkeypatch: pytest.MonkeyPatch, *, faults: dict[str, Any] | None) -> Any:
    bench.load(volume_ids(ROWS))
    with statements(monkeypatch) as seen:
        bench.run(PagedCloud(faults=faults), max_exports=200, concurrency=50, retries=2, settle_s=5.0)
    return seen


def test_no_statement_of_a_run_reads_all_rows(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = dict(zip(volume_ids(ROWS)[::2], ([each] for each in itertools.cycle(TROUBLES)), strict=False))
    seen = counted_run(bench, monkeypatch, faults=faults)
    asked = [text for text in seen.traced.values() if re.match(r"\s*(SELECT|UPDATE|INSERT|DELETE)", text)]
    assert len(asked) > 25
    db = sqlite3.connect(bench.path)
    for text in asked:
        for *_, step in db.execute(f"EXPLAIN QUERY PLAN {text}"):
            whole = step.startswith("SCAN") and "USING" not in step
            assert not whole or SMALL.match(step), f"{step}: {text}"
    db.close()


def test_many_changes_share_a_commit_and_a_statement(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted_run(bench, monkeypatch, faults={})
    # Each row makes four: claimed, accepted, ended, and a line in the audit trail.
    assert 4 <= len(seen.changes()) <= 0.5 * ROWS
    assert seen.commits() <= 0.25 * ROWS


def test_nothing_is_counted_by_reading_the_rows(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted_run(bench, monkeypatch, faults={})
    assert not [call for call in seen.calls if "count(*) FROM job" in call]
