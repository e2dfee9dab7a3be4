"""Where a run took place, which servers were down for it, and what volumes are called: in every form."""

import base64
import csv
import io
import json
import re
from collections import Counter
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.changes import (
    ImagesSeen,
    JobNeeds,
    NamesLearned,
    ResourcesAcquiring,
    ResourcesHeld,
    ResourcesReleased,
)
from batchexport.errors import EXIT_CODES
from batchexport.identity import CloudIdentity
from batchexport.model import JobState, Server, ServerState
from batchexport.report.causes import normalized_reason
from batchexport.report.context import context_of
from batchexport.report.formats import ReportFormat, report_lines
from batchexport.report.html import html_report
from batchexport.report.markdown import markdown_report
from batchexport.report.run_report import RunReport, collect_report, verdict
from batchexport.report.servers import downtime_text, span_text, volumes_text
from batchexport.report.text import display_width
from batchexport.store import Downtime, ProcessEnd, StateFile, StateReader, stores
from tests.report.pages import Page
from tests.report.state_files import AT, HERE, build_mixed, volume_id
from tests.store.making import found, needs, servers

NOW = AT + 7200
IDENTITY = CloudIdentity(
    cloud="prod",
    region="eu-de",
    project_id="c344706a7e90438994fbf96c2c9627bd",
    project_name="archive",
    identity_url="https://iam.example",
)
NAMES = {volume_id(1): "db-01 data", volume_id(2): "数据库-02", volume_id(5): "big"}


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A night of the job `nightly` on backup-01, with one server that was down and one that still is."""
    path = tmp_path / "night.state"
    await build_mixed(path)
    async with StateFile.open(path) as state:
        work = await state.take(next(each.target_id for each in state.targets if each.key == HERE))
        await work.bind(IDENTITY)
        work.apply(NamesLearned(NAMES))
        work.apply(ImagesSeen({"image-id-5": "queued"}))
        rows = await work.jobs_in(JobState.EXPORTING)
        await work.commit(JobNeeds(rows[0], needs("s1", "s2")))
        for server, at_s in (("s1", AT), ("s2", AT + 100)):
            stopped = Server(server_id=server, status="active", name=f"web-{server}")
            await work.commit(ResourcesAcquiring(found=[found(stopped)], at_s=at_s))
            await work.commit(ResourcesHeld(resources=servers(server), at_s=at_s + 10))
        await work.commit(ResourcesReleased(resources=servers("s1"), at_s=AT + 2760))
        await work.release()
    with StateReader(path) as reader:
        ended_at = max(session.ended_at or 0.0 for session in reader.processes().periods)
    stores.note_end(
        path,
        ProcessEnd(began_at=AT, ended_at=ended_at, exit_code=3, error=None, host="backup-01", job="nightly"),
    )
    return path


@pytest.fixture
def report(path: Path) -> RunReport:
    with StateReader(path) as reader:
        return collect_report(reader, now=NOW)


def report_on(path: Path, form: ReportFormat, **options: Any) -> str:
    with StateReader(path) as reader:
        return "\n".join(report_lines(reader, form, now=NOW, **options))


@pytest.mark.parametrize(
    "form", [ReportFormat.TABLE, ReportFormat.JSON, ReportFormat.HTML, ReportFormat.MARKDOWN]
)
def test_every_form_says_where_and_how(path: Path, form: ReportFormat) -> None:
    text = report_on(path, form)
    for words in ("prod", "eu-de", "archive", "nightly", "backup-01", "web-s1", "web-s2", "big"):
        assert words in text, words


def test_the_context_is_that_of_the_last_process(path: Path) -> None:
    with StateReader(path) as reader:
        found = context_of(reader)
    assert found.places[0] == "prod, region eu-de, project archive"
    assert (found.job, found.host, found.running) == ("nightly", "backup-01", False)
    assert found.how_it_ended == f"3 ({EXIT_CODES[3].meaning})"
    assert found.command("servers", " --start") == f"batchexport servers {path} --start --os-cloud prod"


async def test_a_process_that_ended_without_a_word_has_no_exit_code(path: Path) -> None:
    async with StateFile.open(path) as state:
        work = await state.take(1)
        await work.release()
    with StateReader(path) as reader:
        found = context_of(reader)
    assert (found.exit_code, found.how_it_ended, found.job) == (None, None, "nightly")


def test_advice_holds_commands_that_can_be_pasted(report: RunReport) -> None:
    pieces = report.context.advised(
        "Stop it (run batchexport retry --in-use stop), then run batchexport retry."
    )
    commands = [text for text, is_command in pieces if is_command]
    state_file = report.context.state_file
    assert commands == [
        f"batchexport retry {state_file} --in-use stop --yes --os-cloud prod",
        f"batchexport retry {state_file} --os-cloud prod",
    ]
    assert "".join(text for text, is_command in pieces if not is_command) == "Stop it (run ), then run ."


def test_a_command_on_a_volume_is_given_for_each_volume(report: RunReport) -> None:
    advice = "An administrator frees it (openstack volume set --state available ID)."
    frees = "openstack volume set --state available"
    given = report.context.advised(advice, ["v1", "v 2"])
    assert [text for text, is_command in given if is_command] == [f"{frees} v1", f"{frees} 'v 2'"]
    assert [text for text, is_command in report.context.advised(advice) if is_command] == [f"{frees} ID"]


def test_a_server_that_is_down_is_the_loudest_thing(report: RunReport) -> None:
    page = Page(html_report(report, zone=UTC))
    assert page.texts["section"][0].startswith("1 server is down")
    assert "web-s2 (s2): stopped since 2026-09-21 14:15 (1 h 58 min)" in page.texts["section"][0]
    assert "batchexport servers" in page.texts["section"][0]
    assert verdict(report).words == "servers still stopped"
    assert verdict(replace(report, running=True)).words == "running"
    markdown = list(markdown_report(report))
    assert markdown[2].startswith(
        "**1 server stopped for exports is still down: web-s2.** To start: `batchexport"
    )


def test_downtimes_tell_from_when_to_when_and_for_what(path: Path, report: RunReport) -> None:
    content = json.loads(report_on(path, ReportFormat.JSON))
    first, second = content["downtimes"]
    assert (first["name"], first["stopping_at"], first["up_at"], first["seconds"]) == (
        "web-s1",
        "2026-09-21T14:13:20Z",
        "2026-09-21T14:59:20Z",
        2760.0,
    )
    assert first["volumes"] == [{"volume_id": volume_id(5), "volume_name": "big"}]
    assert (second["state"], second["up_at"], second["seconds"]) == ("stopped", None, None)
    assert (content["run"]["exit_code"], content["run"]["host"]) == (3, "backup-01")
    assert "| web-s1 (s1) | 2026-09-21T14:13:20Z | 2026-09-21T14:59:20Z | 46 min | big |" in list(
        markdown_report(report)
    )
    assert "web-s1 (s1): 2026-09-21T14:13:20Z to 2026-09-21T14:59:20Z (46 min), for big" in report_on(
        path, ReportFormat.TABLE
    )


def test_many_volumes_are_counted(report: RunReport) -> None:
    assert volumes_text([str(number) for number in range(7)], {"0": "a"}) == "a, 1, 2, 3, 4 and 2 more"
    assert volumes_text([], {}) == "no volume"
    (over, _) = report.downtimes
    lost = replace(over, state=ServerState.LOST, down_at=None)
    assert isinstance(lost, Downtime)
    assert span_text(lost, now=0.0).endswith(", never seen down, lost since")


def test_csv_has_the_volumes_name_and_reads_back(path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(report_on(path, ReportFormat.CSV))))
    assert [row["volume_name"] for row in rows[:3]] == ["db-01 data", "数据库-02", ""]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_table_is_no_wider_than_its_terminal(path: Path, width: int) -> None:
    text = report_on(path, ReportFormat.TABLE, width=width)
    table = text[: text.index("\n\n", text.index("LINE"))].split("\n\n")[-1]
    assert all(display_width(line) <= width for line in table.splitlines())
    assert "db-01 data" in table and volume_id(1) in table and "数据库-02" in table
    assert "volume is in-use" in table and "image-id-1" in table


def test_names_in_chinese_do_not_move_the_columns_behind_them(path: Path) -> None:
    wide = [line for line in report_on(path, ReportFormat.TABLE).splitlines() if volume_id(1)[8:] in line]
    places = {display_width(line[: line.index(volume_id(number))]) for number, line in enumerate(wide[:3], 1)}
    assert len(places) == 1


def test_exports_past_their_deadline_are_listed_with_their_image(report: RunReport) -> None:
    assert [job.volume_name for job in report.late] == ["big"]
    page = Page(html_report(report, zone=UTC))
    assert any("1 export past the deadline" in text and "image-id-5" in text for text in page.texts["table"])
    assert any(line.endswith("image `image-id-5` (queued)") for line in markdown_report(report))


def test_a_stalled_export_tells_what_its_image_is(path: Path) -> None:
    assert "stalled: past its deadline, still polled; its image is queued" in report_on(
        path, ReportFormat.TABLE
    )


def test_images_made_are_listed(report: RunReport) -> None:
    assert [job.image_id for job in report.images] == ["image-id-1"]
    assert any("image-id-1" in text for text in Page(html_report(report, zone=UTC)).texts["table"])


def test_images_come_as_csv_inside_the_page_and_beside_it(report: RunReport) -> None:
    text = html_report(replace(report, csv_name="nightly 1.csv"), zone=UTC)
    (content,) = re.findall(
        r'href="data:text/csv;charset=utf-8;base64,([^"]+)" download="nightly-images.csv"', text
    )
    (image,) = csv.DictReader(base64.b64decode(content).decode().splitlines())
    assert (image["volume_name"], image["image_id"]) == ("db-01 data", "image-id-1")
    assert '<a href="nightly%201.csv">every row: nightly 1.csv</a>' in text
    beyond = html_report(replace(report, images=[]), zone=UTC)
    assert "data:text/csv" not in beyond


def test_more_images_than_a_page_holds_are_left_to_the_csv_report(report: RunReport) -> None:
    rows = replace(report.totals, rows=report.totals.rows + Counter({JobState.SUCCEEDED: 9_000}))
    many = replace(report, figures=replace(report.figures, totals=rows))
    assert f"batchexport report {report.context.state_file} -f csv -o nightly.csv" in html_report(
        many, zone=UTC
    )


async def test_rows_name_the_downtimes_of_their_servers(path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(report_on(path, ReportFormat.CSV))))
    texts = [row["downtime"] for row in rows if row["downtime"]]
    assert texts == [
        "web-s1 (s1): 2026-09-21T14:13:20Z to 2026-09-21T14:59:20Z (46 min);"
        " web-s2 (s2): stopped since 2026-09-21T14:15:00Z (1 h 58 min)"
    ]
    content = json.loads(report_on(path, ReportFormat.JSON))
    assert [job["downtime"] for job in content["jobs"] if job["downtime"]] == texts
    assert content["servers_down"][0]["volume_names"] == ["big"]
    assert content["to_do"][0]["commands"] == [f"batchexport servers {path} --start --os-cloud prod"]


def test_one_server_or_two_are_one_cause() -> None:
    one = "the volume is attached to server 16369c5d-384d-4e64-b37a-56d898769362; detach it"
    two = (
        "the volume is attached to servers 16369c5d-384d-4e64-b37a-56d898769362,"
        " 9d6e7f80-0a1b-4c2d-8e3f-405162738495; detach it"
    )
    assert normalized_reason(one) == normalized_reason(two)


def test_a_downtime_of_a_server_that_was_never_down_says_so(report: RunReport) -> None:
    (over, _) = report.downtimes
    text = downtime_text(replace(over, down_at=None, name=None), {}, now=NOW)
    assert text.startswith("s1: 2026-09-21T14:13:20Z to 2026-09-21T14:59:20Z (46 min), never seen down")


def test_nothing_is_said_of_servers_where_none_was_stopped(tmp_path: Path, report: RunReport) -> None:
    quiet = replace(report, servers=[], downtimes=[])
    assert "Servers stopped" not in html_report(quiet)
    assert not any("Servers stopped" in line for line in markdown_report(quiet))
    assert report.totals.rows[JobState.SUCCEEDED] == 1
