"""A server that is not up is told first, wherever a run is shown."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchexport.observe.message import Outcome, message_for, with_state
from batchexport.report.formats import ReportFormat, report_lines
from batchexport.report.servers import MAX_NAMED, servers_json, servers_line, servers_text
from batchexport.report.status import status_json, status_text, summary_text
from batchexport.store import StateReader
from tests.report.state_files import AT, build_succeeded, volume_id
from tests.store.making import alter

LINE = "1 server stopped for exports is still down: web-1"


@pytest.fixture
async def left_down(tmp_path: Path) -> Path:
    """A run that is done, but for a server that does not start."""
    path = tmp_path / "night.state"
    await build_succeeded(path)
    alter(
        path,
        "INSERT INTO resource (target_id, subject_id, name, state, acquiring_at, note)"
        f" VALUES (1, 'a1', 'web-1', 'releasing', {AT}, 'does not start: no valid host')",
        "INSERT INTO resource_job VALUES (1, 'server', 'a1')",
    )
    return path


@pytest.fixture
def reader(left_down: Path) -> Iterator[StateReader]:
    with StateReader(left_down) as reader:
        yield reader


@pytest.mark.parametrize("form", [ReportFormat.TABLE, ReportFormat.MARKDOWN, ReportFormat.HTML])
def test_every_report_for_people_says_so_before_it_counts_rows(
    reader: StateReader, form: ReportFormat
) -> None:
    text = "\n".join(report_lines(reader, form, now=AT))
    assert LINE in text
    assert text.index(LINE) < text.index("1 of 1 volume" if form is not ReportFormat.TABLE else "1 row =")
    assert form is ReportFormat.TABLE or "servers still stopped" in text


def test_programs_find_it_too(reader: StateReader, left_down: Path) -> None:
    assert (
        json.loads("".join(report_lines(reader, ReportFormat.JSON, now=AT)))["servers_down"][0]["server_id"]
        == "a1"
    )
    assert json.loads(status_json(reader, left_down, now=AT))["servers_down"][0]["name"] == "web-1"


def test_status_and_summary_say_so_and_what_to_do(reader: StateReader, left_down: Path) -> None:
    assert LINE in status_text(reader, left_down, now=AT)
    lines = summary_text(reader, left_down, cloud="prod", took_s=1.0).splitlines()
    assert lines[0] == LINE
    assert f"next: batchexport servers {left_down} --start --os-cloud prod" in lines[-1]


def test_whoever_is_told_of_the_run_is_told_of_the_server(left_down: Path) -> None:
    message = message_for(with_state(Outcome(name="nightly", exit_code=3, error=None), left_down))
    assert message.lines[0] == LINE


def test_the_table_tells_since_when_for_what_and_what_is_wrong(reader: StateReader) -> None:
    head, row, note, _, line = servers_text(reader.overview().servers).splitlines()
    assert head.split() == ["SERVER", "NAME", "STATE", "SINCE", "VOLUMES"]
    assert row.split() == ["a1", "web-1", "starting", "2026-09-21T14:13:20Z", volume_id(1)]
    assert note.strip() == "does not start: no valid host"
    assert line == LINE


def test_the_table_names_volumes_where_names_are_known(reader: StateReader) -> None:
    text = servers_text(reader.overview().servers, {volume_id(1): "db-01 data"})
    assert text.splitlines()[1].endswith("  db-01 data")


def test_where_all_are_up_nothing_is_said() -> None:
    assert (servers_line([]), servers_text([])) == ("", "no server is stopped")
    assert json.loads(servers_json([])) == {"servers": []}


def test_a_line_names_a_few(reader: StateReader) -> None:
    (server,) = reader.overview().servers
    assert servers_line([server] * (MAX_NAMED + 2)).endswith("web-1 and 2 more")
