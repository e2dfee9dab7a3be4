import csv
import io
import json
import tracemalloc
from collections.abc import Collection
from pathlib import Path

import pytest

from batchexport.dialect import CINDER
from batchexport.lists import REPORT_COLUMNS, Column, JobList
from batchexport.model import NO_OPTIONS, ImageOptions, JobRow, JobState
from batchexport.report.formats import ReportFormat
from batchexport.report.rows import COLUMNS, csv_lines, json_lines, table_lines
from batchexport.store import StateReader
from tests.report.state_files import AT, HERE, build, volume_id

NOW = AT + 700


def lines(
    reader: StateReader, form: ReportFormat, *, only: Collection[JobState] = (), now: float = NOW
) -> list[str]:
    jobs = reader.jobs(states=frozenset(only)) if only else reader.jobs()
    if form is ReportFormat.TABLE:
        return list(table_lines(reader, jobs, now=now, width=None))
    return list((csv_lines if form is ReportFormat.CSV else json_lines)(reader, jobs, now=now))


def test_columns_are_those_of_the_list_and_then_the_reports_own() -> None:
    assert (*Column, *REPORT_COLUMNS) == COLUMNS


def test_a_csv_report_reads_back_as_a_job_list_with_the_same_wishes(
    reader: StateReader, tmp_path: Path
) -> None:
    path = tmp_path / "again.csv"
    path.write_text("\n".join(lines(reader, ReportFormat.CSV)), encoding="utf-8")
    rows = list(JobList(path))
    assert all(isinstance(row, JobRow) for row in rows)
    assert [row.volume_id for row in rows] == [volume_id(number) for number in range(1, 8)]
    assert rows[0].options == ImageOptions(disk_format="qcow2", force=True, protected=False, timeout_s=5400.0)
    assert rows[1].options == NO_OPTIONS
    assert [row.target.cloud for row in rows] == [None] * 5 + ["east"] * 2


def test_csv_holds_times_states_and_the_clouds_words(reader: StateReader) -> None:
    rows = list(csv.DictReader(io.StringIO("\n".join(lines(reader, ReportFormat.CSV)))))
    assert (
        rows[0]
        | {
            "state": "succeeded",
            "image_id": "image-id-1",
            "size_gib": "100",
            "started_at": "2026-09-21T14:13:30Z",
            "accepted_at": "2026-09-21T14:13:40Z",
            "finished_at": "2026-09-21T14:23:20Z",
            "line": "2",
            "target": "default",
        }
        == rows[0]
    )
    assert (
        rows[1]
        | {
            "state": "failed",
            "reason": "volume is in-use",
            "code": "EVS.5400",
            "http_status": "400",
            "request_id": "req-2",
            "finished_at": "2026-09-21T14:23:20Z",
            "stalled": "false",
        }
        == rows[1]
    )


def test_a_text_with_separators_and_quotes_survives_csv(tmp_path: Path) -> None:
    path = tmp_path / "odd.state"
    build(path, [(HERE, 'a,"b";c', NO_OPTIONS)])
    with StateReader(path) as reader:
        (row,) = csv.DictReader(io.StringIO("\n".join(lines(reader, ReportFormat.CSV))))
    assert row["image_name"] == 'a,"b";c'


def test_a_report_can_be_limited_to_states(reader: StateReader) -> None:
    found = lines(reader, ReportFormat.CSV, only=[JobState.FAILED, JobState.AMBIGUOUS])
    assert [line.split(",")[0] for line in found[1:]] == [volume_id(2), volume_id(4), volume_id(6)]


def test_json_is_one_document_with_run_totals_and_rows(reader: StateReader) -> None:
    content = json.loads("\n".join(lines(reader, ReportFormat.JSON)))
    assert content["run"]["run_id"] == "20260921-abcdef"
    assert content["totals"]["rows"] == len(content["jobs"]) == 7
    assert content["jobs"][0]["force"] is True
    assert content["jobs"][0]["size_gib"] == 100
    assert content["jobs"][1]["image_id"] is None


def test_json_without_a_row_is_still_a_document(reader: StateReader) -> None:
    content = json.loads("\n".join(lines(reader, ReportFormat.JSON, only=[JobState.SUBMITTING])))
    assert content["jobs"] == []
    assert content["totals"]["rows"] == 7


def test_a_table_ends_with_totals_that_add_up(reader: StateReader) -> None:
    found = lines(reader, ReportFormat.TABLE)
    rows, gib = found[found.index("") + 1 :][:2]
    assert rows == "7 rows = 1 succeeded + 2 failed + 1 skipped + 1 ambiguous + 2 to do"
    assert gib.startswith("100 GiB exported")


def test_a_table_shows_the_reason_of_each_failed_row(reader: StateReader) -> None:
    assert sum("volume is in-use" in line for line in lines(reader, ReportFormat.TABLE)) == 2


@pytest.mark.parametrize(("now", "stalled"), [(AT + 3599, False), (AT + 3601, True)])
def test_an_export_past_its_deadline_is_shown_as_stalled_and_stays_exporting(
    reader: StateReader, now: float, stalled: bool
) -> None:
    (_, row, *_) = lines(reader, ReportFormat.TABLE, now=now, only=[JobState.EXPORTING])
    assert ("stalled" in row) is stalled
    assert "exporting" in row


def test_a_longer_report_needs_no_more_memory(tmp_path: Path) -> None:
    assert _peak_bytes(tmp_path, 8000) < 1.5 * _peak_bytes(tmp_path, 4000)


def _peak_bytes(tmp_path: Path, rows: int) -> int:
    path = tmp_path / f"{rows}.state"
    build(path, ((HERE, f"image {number}", NO_OPTIONS) for number in range(rows)))
    with StateReader(path) as reader:
        tracemalloc.start()
        count = sum(1 for _ in csv_lines(reader, reader.jobs(), now=NOW))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert count == rows + 1
    return peak


NAMES = ['=HYPERLINK("x")', "@SUM(1)", "+1", "-x", "＝1+1", "'=quoted", "''+twice", "o'clock", "'plain'"]


def test_no_cell_is_a_formula_and_every_name_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "odd.state"
    build(path, [(HERE, name, NO_OPTIONS) for name in NAMES])
    with StateReader(path) as reader:
        text = "\n".join(lines(reader, ReportFormat.CSV))
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r＝＋－＠")]
    (tmp_path / "again.csv").write_text(text, encoding="utf-8")
    rows = list(JobList(tmp_path / "again.csv", dialect=CINDER))
    assert [row.image_name for row in rows] == NAMES
