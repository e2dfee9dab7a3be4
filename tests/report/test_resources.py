"""Snapshots and temporary volumes that are not deleted are told first, wherever a run is shown."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchexport.app.run import outcome_of
from batchexport.observe.message import Outcome, message_for, with_state
from batchexport.report.actions import actions_of
from batchexport.report.formats import ReportFormat, report_lines
from batchexport.report.resources import copies_line, copies_lines, resources_json, resources_text
from batchexport.report.status import status_json, status_text, summary_text
from batchexport.store import StateReader
from tests.report.state_files import AT, build_succeeded, volume_id
from tests.store.making import alter

LINE = "1 snapshot and 1 temporary volume of ours are not deleted: bx-r1-1-v, bx-r1-1-s"
STUCK = "error_deleting: an administrator has to reset it"


@pytest.fixture
async def left(tmp_path: Path) -> Path:
    """A run that is done, but for a temporary volume that cannot be deleted, and its snapshot."""
    path = tmp_path / "night.state"
    await build_succeeded(path)
    columns = (
        "target_id, kind, subject_id, cloud_id, state, acquiring_at, depends_on, volume_id, note, size_gib"
    )
    alter(
        path,
        f"INSERT INTO resource ({columns}) VALUES (1, 'volume', 'bx-r1-1-v', 'c-2', 'releasing', {AT},"
        f" 'bx-r1-1-s', '{volume_id(1)}', '{STUCK}', 5)",
        f"INSERT INTO resource ({columns}) VALUES (1, 'snapshot', 'bx-r1-1-s', NULL, 'held', {AT + 1}, NULL,"
        f" '{volume_id(1)}', NULL, 5)",
    )
    return path


@pytest.fixture
def reader(left: Path) -> Iterator[StateReader]:
    with StateReader(left) as reader:
        yield reader


@pytest.mark.parametrize("form", [ReportFormat.TABLE, ReportFormat.MARKDOWN, ReportFormat.HTML])
def test_every_report_for_people_says_so_before_it_counts_rows(
    reader: StateReader, form: ReportFormat
) -> None:
    text = "\n".join(report_lines(reader, form, now=AT))
    assert LINE in text
    assert text.index(LINE) < text.index("1 of 1 volume" if form is not ReportFormat.TABLE else "1 row =")
    assert "resources night.state --release" in text.replace(str(reader.path), reader.path.name)
    assert form is ReportFormat.TABLE or "temporary copies not deleted" in text


def test_programs_find_them_too(reader: StateReader, left: Path) -> None:
    for text in (
        "".join(report_lines(reader, ReportFormat.JSON, now=AT)),
        status_json(reader, left, now=AT),
        resources_json(reader.overview()),
    ):
        volume, snapshot = json.loads(text)["resources"]
        assert (volume["kind"], volume["resource_id"], volume["note"]) == ("temporary volume", "c-2", STUCK)
        assert (snapshot["kind"], snapshot["resource_id"], snapshot["name"]) == (
            "snapshot",
            None,
            "bx-r1-1-s",
        )
        assert volume["volume_ids"] == snapshot["volume_ids"] == [volume_id(1)]
    (row,) = csv.DictReader(io.StringIO("\n".join(report_lines(reader, ReportFormat.CSV, now=AT))))
    assert row["unreleased"] == "temporary volume bx-r1-1-v (releasing); snapshot bx-r1-1-s (held)"


def test_status_summary_and_actions_say_so(reader: StateReader, left: Path) -> None:
    assert LINE in status_text(reader, left, now=AT)
    first, *_, last = summary_text(reader, left, cloud="prod", took_s=1.0).splitlines()
    assert first == LINE
    assert (
        "resources" in last and "--release --os-cloud prod" in last and "(delete 2 temporary copies)" in last
    )
    assert actions_of(reader, cloud=None, running=True, now=AT) == []


def test_a_run_that_leaves_any_does_not_end_well(reader: StateReader) -> None:
    outcome = outcome_of(reader, stopped=None, wait=True)
    assert (outcome.exit_code, outcome.copies_left, outcome.servers_down) == (3, 2, 0)


def test_the_message_names_them_in_its_title(left: Path) -> None:
    message = message_for(with_state(Outcome(name="night", exit_code=3, error=None), left))
    assert message.title.startswith("batchexport night: 2 temporary copies not deleted; ")
    assert message.lines[0] == LINE
    assert any("resources" in line and "--release" in line for line in message.lines)


def test_the_table_names_each_with_what_is_wrong(reader: StateReader) -> None:
    lines = resources_text(reader.overview(), {volume_id(1): "data"}).splitlines()
    assert lines[1].split()[:4] == ["temporary", "volume", "c-2", "bx-r1-1-v"]
    assert lines[1].endswith("data")
    assert lines[2].strip() == STUCK
    assert lines[-1] == LINE


def test_a_run_at_work_deletes_its_copies_and_names_those_that_it_could_not(reader: StateReader) -> None:
    alter(reader.path, "UPDATE resource SET note = 'cannot be deleted: ' || note")
    snapshot, volume = sorted(reader.overview().copies, key=lambda each: each.kind)
    at_work = "1 snapshot at the moment: the run deletes what it no longer needs"
    assert copies_lines([snapshot], is_working=True) == [at_work]
    kept = "1 temporary volume of ours is not deleted: bx-r1-1-v"
    assert copies_lines([snapshot, volume], is_working=True) == [kept, at_work]
    assert copies_lines([volume, snapshot], is_working=False) == [LINE]


def test_nothing_is_said_of_nothing(reader: StateReader) -> None:
    assert copies_line([]) == ""
    alter(reader.path, "UPDATE resource SET state = 'released'")
    assert resources_text(reader.overview()) == "nothing is held"
