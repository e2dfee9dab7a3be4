import itertools
from pathlib import Path

import msgspec
import pytest

from batchexport.report import markdown as module
from batchexport.report.history import earlier_runs
from batchexport.report.markdown import code, escaped, markdown_report
from batchexport.report.run_report import RunReport, collect_report
from batchexport.store import StateReader
from tests.report.runs import EVENING, make_run
from tests.report.state_files import AT, build, build_succeeded


async def report_in(tmp_path: Path) -> RunReport:
    await make_run(tmp_path / "first.state", 20, seed=3, begins_at=EVENING - 86400)
    path = await make_run(tmp_path / "second.state", 90, seed=6)
    with StateReader(path) as reader:
        return collect_report(reader, now=EVENING, earlier=earlier_runs(path, reader.run))


async def test_it_has_headline_causes_and_tables(tmp_path: Path) -> None:
    found = await report_in(tmp_path)
    lines = list(markdown_report(found))
    assert lines[0] == "# nightly.csv: done, with failures"
    assert [line for line in lines if line.startswith("## ")] == [
        "## To do",
        "## What went wrong, and what to do",
        "## By target",
        "## By size of the volume",
        "## This run and earlier ones",
    ]
    assert any(line.startswith("  - What to do (operator): ") for line in lines)
    assert any(", request `req-" in line for line in lines)
    assert any(line.startswith("| 2026-09-20T22:00 |") for line in lines)


async def test_every_row_of_a_table_has_as_many_cells_as_its_head(tmp_path: Path) -> None:
    lines = list(markdown_report(await report_in(tmp_path)))
    for before, line in itertools.pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            assert before.count("|") == line.count("|")


async def test_what_is_too_much_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await report_in(tmp_path)
    monkeypatch.setattr(module, "MAX_CAUSES", 1)
    cause = msgspec.structs.replace(found.causes[0], rows=50, code=None, status=None, examples=[])
    lines = list(markdown_report(msgspec.structs.replace(found, causes=[cause, *found.causes[1:]])))
    assert "  - and 50 more rows" in lines
    assert any(line.startswith("And ") and "more cause" in line for line in lines)


async def test_a_night_without_trouble_is_short(tmp_path: Path) -> None:
    await build_succeeded(tmp_path / "good.state")
    with StateReader(tmp_path / "good.state") as reader:
        lines = list(markdown_report(collect_report(reader, now=AT + 9)))
    assert "## What went wrong, and what to do" not in lines
    assert lines[4] == "Run 20260921-abcdef, 2026-09-21T14:13:20Z to 2026-09-21T14:13:29Z"


def test_a_run_that_has_not_begun_says_so(tmp_path: Path) -> None:
    build(tmp_path / "new.state", [])
    with StateReader(tmp_path / "new.state") as reader:
        lines = list(markdown_report(collect_report(reader, now=AT)))
    assert lines[4] == "Run 20260921-abcdef, nothing exported yet to now"


def test_no_word_of_a_cloud_becomes_markup() -> None:
    assert escaped("a|b\n<b>*x*</b> `c`") == r"a\|b \<b\>\*x\*\</b\> \`c\`"


def test_an_id_that_holds_backticks_does_not_end_its_fence() -> None:
    assert code("req-1") == "`req-1`"
    assert code("req-1` <b> ``x") == "``` req-1` <b> ``x ```"
    assert code("a\nb") == "`a b`"
