"""What a run asks of its state file: every statement by an index, many changes to a commit."""

import itertools
import re
import sqlite3

from batchexport.store import schema
from tests.counting.counted import PagedCloud, statements
from tests.engine.conftest import volume_ids

ROWS = 600
#: Every second row meets some trouble, so that all kinds of statement are used.
TROUBLES = ["unavailable", "lost", "lost before", "throttled", "fails", "refused"]
#: These read a table that has a row for each target, or a handful.
SMALL = re.compile(r"SCAN (target|tally|run|given|\d+ CONSTANT ROWS|json_each|\(subquery)")


def traced_run(bench, monkeypatch, *, faults):
    bench.load(volume_ids(ROWS))
    with statements(monkeypatch) as seen:
        bench.run(PagedCloud(faults=faults), max_exports=200, concurrency=50, retries=2, settle_s=5.0)
    return seen


def test_no_statement_of_a_run_reads_all_rows(bench, monkeypatch):
    faults = dict(zip(volume_ids(ROWS)[::2], ([each] for each in itertools.cycle(TROUBLES)), strict=False))
    seen = traced_run(bench, monkeypatch, faults=faults)
    kinds = {_without_values(text): text for text in seen if _is_query(text)}
    assert len(kinds) > 20
    db = sqlite3.connect(bench.path)
    for text in kinds.values():
        for *_, step in db.execute(f"EXPLAIN QUERY PLAN {text}"):
            assert not step.startswith("SCAN") or SMALL.match(step) or "USING" in step, (step, text)
    db.close()


def test_many_changes_share_a_commit_and_a_statement(bench, monkeypatch):
    seen = traced_run(bench, monkeypatch, faults={})
    commits = sum(text == "COMMIT" for text in seen)
    changes = [text for text in seen if text.lstrip().startswith(("UPDATE job", "INSERT INTO attempt"))]
    assert commits <= 0.3 * ROWS
    # Three changes and a line of the audit trail for each row, and the claims besides.
    assert len(changes) <= 0.5 * ROWS


def test_each_change_is_counted_by_the_trigger_and_not_by_reading(bench, monkeypatch):
    seen = traced_run(bench, monkeypatch, faults={})
    assert not [text for text in seen if "count(*)" in text.lower() and "FROM job" in text]
    assert "job_counted" in "".join(schema.INDEXES)


def _is_query(text):
    return text.lstrip().startswith(("SELECT", "UPDATE", "INSERT", "DELETE"))


def _without_values(text):
    """The statement without its numbers and texts, and however many rows it was filled with."""
    plain = re.sub(r"'(?:[^']|'')*'|\b\d+(\.\d+)?\b|NULL", "?", text)
    return re.sub(r"(\((\?(, )?)+\)(, )?)+", "(?)", plain)
