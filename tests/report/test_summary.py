from collections import Counter
from pathlib import Path
from typing import Any

from batchexport.model import Ending, JobState
from batchexport.report.actions import action_lines, actions_after
from batchexport.report.formats import ReportFormat, report_lines
from batchexport.report.status import status_text, summary_text
from batchexport.report.totals import Totals
from batchexport.store import StateReader
from tests.report.state_files import AT, build_succeeded


def steps(*, cloud: str | None = None, path: str = "my run.state", **rows: Any) -> list[str]:
    counted = Counter({JobState(state): number for state, number in rows.items()})
    return action_lines(actions_after(Totals(counted, Counter(), 0), path, cloud))


def test_the_summary_adds_up_and_says_where_the_state_is(reader: StateReader, mixed: Path) -> None:
    text = summary_text(reader, mixed, cloud="prod", took_s=125)
    assert "7 rows = 1 succeeded + 2 failed + 1 skipped + 1 ambiguous + 2 to do" in text
    assert "2 min 5 s in this run" in text
    assert "to do: 1 pending, 0 submitting, 1 exporting" in text
    assert "        2  volume is in-use (EVS.5400)" in text
    assert f"state file: {mixed}" in text


def test_rows_to_do_are_carried_on_with_the_same_cloud() -> None:
    (step,) = steps(pending=1, cloud="prod", path="a.state")
    assert "batchexport resume a.state --os-cloud prod" in step


def test_failed_rows_are_retried_and_ambiguous_ones_looked_at() -> None:
    look, reconcile, retry = steps(failed=1, ambiguous=1)
    assert "batchexport report 'my run.state' --only ambiguous" in look
    assert "batchexport reconcile 'my run.state'" in reconcile
    assert "batchexport retry 'my run.state'" in retry


def test_where_all_is_done_nothing_is_left() -> None:
    assert steps(succeeded=5) == []


def test_a_run_that_goes_on_starts_its_servers_and_resumes_by_itself() -> None:
    totals = Totals(Counter({JobState.PENDING: 3}), Counter(), 0)
    assert actions_after(totals, "a.state", None, running=True, servers_down=2) == []
    servers, resume = actions_after(totals, "a.state", None, servers_down=2)
    assert (servers.who, servers.commands) == ("operator", ("batchexport servers a.state --start",))
    assert resume.commands == ("batchexport resume a.state",)


def test_stuck_volumes_are_freed_by_a_cloud_administrator_with_a_command_for_each() -> None:
    totals = Totals(Counter({JobState.FAILED: 9}), Counter(), 0)
    free, retry = actions_after(totals, "a.state", None, stuck=["v1", "v2"], stuck_rows=9)
    assert (free.who, free.why) == ("cloud administrator", "free 9 volumes left uploading, for a retry")
    assert list(free.commands) == [f"openstack volume set --state available {each}" for each in ("v1", "v2")]
    assert retry.commands == ("batchexport retry a.state",)


async def test_a_run_without_a_failure_needs_no_reasons(tmp_path: Path) -> None:
    path = tmp_path / "good.state"
    await build_succeeded(path)
    with StateReader(path) as reader:
        text = summary_text(reader, path, cloud=None, took_s=1)
        status = status_text(reader, path, now=AT)
    assert "to do:" not in text + status
    assert "reasons" not in text + status
    assert f"next: batchexport report {path}  (shows every volume and its image)" in text


async def test_an_image_that_is_not_as_it_should_be_is_told_at_the_end_and_on_every_page(
    tmp_path: Path,
) -> None:
    path = tmp_path / "doubtful.state"
    ending = Ending(reason="active, but it holds 0 bytes", code="image_short")
    await build_succeeded(path, ending)
    with StateReader(path) as reader:
        text = summary_text(reader, path, cloud="prod", took_s=1)
        pages = [
            "\n".join(report_lines(reader, form, now=AT))
            for form in (ReportFormat.HTML, ReportFormat.MARKDOWN)
        ]
    assert "succeeded, but these images need a look:\n        1  active, but it holds 0 bytes" in text
    assert f"next: batchexport report {path} -f markdown" in text
    for page in pages:
        assert "What went wrong" in page
        assert "it holds 0 bytes" in page
        assert f"batchexport verify {path}" in page


def test_unfinished_images_are_named_with_what_removes_them() -> None:
    counted = Counter({JobState.SUCCEEDED: 5})
    (step,) = action_lines(actions_after(Totals(counted, Counter(), 0), "a.state", "prod", unfinished=32))
    assert "batchexport cleanup a.state --os-cloud prod" in step
    assert "32 unfinished images of failed attempts that may be left" in step


def test_a_run_that_stops_with_stalled_exports_says_so_and_what_ends_them(
    reader: StateReader, mixed: Path
) -> None:
    text = summary_text(reader, mixed, cloud=None, took_s=1, now=AT + 100_000)
    assert "1 exporting (1 stalled: past the deadline, still polled)" in text
    assert f"batchexport give-up {mixed} --stalled" in text
    assert "stalled" not in summary_text(reader, mixed, cloud=None, took_s=1, now=AT)
