from pathlib import Path

import msgspec
import pytest

from batchexport.errors import StateError
from batchexport.model import JobState
from batchexport.report.history import earlier_runs, runs_at
from batchexport.report.run_report import collect_report, comparison, headline, verdict
from batchexport.report.text import iso_utc, title_of
from batchexport.report.timeline import Mark
from batchexport.report.totals import totals_sentence
from batchexport.store import StateReader
from tests.report.runs import EVENING, TARGETS, make_run
from tests.report.state_files import AT, EAST, HERE, build_succeeded


def test_a_night_adds_up(reader: StateReader) -> None:
    report = collect_report(reader, now=AT + 700)
    assert report.totals.all_rows == 7
    assert report.unsuccessful_rows == len(report.unsuccessful) == 4
    assert sum(cause.rows for cause in report.causes) == 4
    assert sum(each.rows.total() for each in report.sizes) == 7
    assert [line.key for line in report.targets] == [HERE, EAST]
    assert (report.median_s, report.stalled, report.running) == (580, 0, False)
    assert report.figures.took_s == 600 - 20
    assert report.figures.gib_per_hour == pytest.approx(100 * 3600 / 580)


def test_while_exports_are_under_way_the_night_reaches_to_now(reader: StateReader) -> None:
    report = collect_report(reader, now=AT + 700)
    assert report.timeline.ended_at == AT + 700
    assert report.timeline.marks == {Mark.NO_SERVICE: 1}


async def test_throttling_is_counted_by_target(tmp_path: Path) -> None:
    path = await make_run(tmp_path / "n.state", 60, seed=2)
    with StateReader(path) as reader:
        report = collect_report(reader, now=EVENING)
    assert {line.key for line in report.targets} == set(TARGETS)
    assert sum(line.throttled for line in report.targets) == report.timeline.marks[Mark.THROTTLED]
    assert [line.requests_per_second for line in report.targets] == [3.5, 3.5]


async def test_earlier_runs_of_the_list_beside_it_are_found_the_last_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(4):
        await make_run(tmp_path / f"night-{day}.state", 3, seed=day, begins_at=EVENING + day * 86400)
    await make_run(tmp_path / "other.state", 3, seed=8, begins_at=EVENING - 86400, list_name="other.csv")
    (tmp_path / "broken.state").write_text("no state file")
    monkeypatch.setattr("batchexport.report.history.MAX_RUNS", 2)
    path = tmp_path / "night-3.state"
    with StateReader(path) as reader:
        found = earlier_runs(path, reader.run)
    assert [each.run.created_at for each in found] == [EVENING + 86400, EVENING + 2 * 86400]


async def test_named_nights_are_read_whatever_their_list(tmp_path: Path) -> None:
    await make_run(tmp_path / "b.state", 3, seed=1, begins_at=EVENING + 5, list_name="b.csv")
    await make_run(tmp_path / "a.state", 3, seed=2, begins_at=EVENING, list_name="a.csv")
    found = runs_at([tmp_path / "b.state", tmp_path / "a.state"])
    assert [each.run.list_name for each in found] == ["a.csv", "b.csv"]
    (tmp_path / "c.state").write_text("no state file")
    with pytest.raises(StateError):
        runs_at([tmp_path / "c.state"])


async def test_the_verdict_is_a_word_and_a_sentence(tmp_path: Path, reader: StateReader) -> None:
    report = collect_report(reader, now=AT + 700)
    assert verdict(report).words == "unfinished"
    assert verdict(msgspec.structs.replace(report, running=True)).words == "running"
    assert headline(report) == (
        "1 of 7 volumes exported (100 GiB) in 9 min 40 s; 2 failed, 1 ambiguous, 1 skipped, 2 to do."
    )
    await build_succeeded(tmp_path / "good.state")
    with StateReader(tmp_path / "good.state") as good:
        report = collect_report(good, now=AT + 9)
    assert verdict(report).words == "done"
    assert headline(report) == "1 of 1 volume exported (5 GiB) in 9 s."
    assert totals_sentence(report.totals, None) == "1 of 1 volume exported (5 GiB)."


async def test_the_run_before_stands_beside_this_one(tmp_path: Path, reader: StateReader) -> None:
    await make_run(tmp_path / "a.state", 3, seed=3, begins_at=EVENING - 86400)
    await make_run(tmp_path / "b.state", 3, seed=2)
    with StateReader(tmp_path / "b.state") as second:
        earlier = earlier_runs(tmp_path / "b.state", second.run)
        report = collect_report(second, now=EVENING + 86400, earlier=earlier)
    assert comparison(report, iso_utc) == (
        f"The run before (2026-09-20T22:00:00Z): {totals_sentence(earlier[0].totals, earlier[0].took_s)}"
    )
    assert comparison(collect_report(reader, now=AT), iso_utc) is None


async def test_failures_are_in_the_verdict_of_a_run_that_is_done(tmp_path: Path) -> None:
    path = await make_run(tmp_path / "n.state", 60, seed=2)
    with StateReader(path) as reader:
        report = collect_report(reader, now=EVENING)
    assert report.totals.rows[JobState.FAILED]
    assert verdict(report).words == "done, with failures"


def test_a_run_is_called_after_its_list(reader: StateReader) -> None:
    named = [msgspec.structs.replace(reader.run, list_name=name) for name in ("-", "lists/march.csv")]
    assert [title_of(run.list_name) for run in named] == ["list from stdin", "march.csv"]
