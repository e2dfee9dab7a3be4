from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batchexport.model import JobState, ResourceState, ServerState, TargetKey
from batchexport.observe.message import Outcome, message_for, with_state
from batchexport.report.totals import Totals
from batchexport.store import Downtime, ReasonCount, ResourceReport
from tests.report.state_files import build_mixed, volume_id

TOTALS = Totals(Counter({JobState.SUCCEEDED: 8, JobState.FAILED: 2}), Counter({JobState.SUCCEEDED: 80}), 10)


def outcome(exit_code: int = 3, **facts: Any) -> Outcome:
    return Outcome(name="nightly", exit_code=exit_code, **{"error": None, "totals": TOTALS, **facts})


def test_a_message_says_how_it_went_why_and_where_to_look() -> None:
    message = message_for(
        outcome(
            took_s=3600,
            state_file="/srv/night.state",
            reasons=[ReasonCount(reason="volume is\nin-use", code="x", jobs=2)],
            reports=[Path("/srv/night.csv"), Path("/srv/night.html")],
        )
    )
    assert message.text.splitlines() == [
        "batchexport nightly: done, with failures (exit code 3)",
        "8 of 10 volumes exported (80 GiB) in 1 h; 2 failed.",
        "2 rows: volume is in-use",
        "state file: /srv/night.state",
        "report: /srv/night.csv",
        "report: /srv/night.html",
    ]
    assert message.attachment == Path("/srv/night.html")
    assert (message.figures["succeeded"], message.figures["exit_code"]) == (8, 3)


@pytest.mark.parametrize(
    ("code", "good"), [(0, True), (75, True), (3, False), (6, False), (143, False), (1, False)]
)
def test_a_night_that_the_next_one_carries_on_is_a_good_one(code: int, good: bool) -> None:
    assert message_for(outcome(code)).good is good


@pytest.mark.parametrize(
    ("code", "totals", "words"),
    [
        (0, TOTALS, "done (exit code 0)"),
        (75, TOTALS, "window closed, to be resumed"),
        (6, TOTALS, "stopped early (exit code 6)"),
        (2, None, "not started (exit code 2)"),
    ],
)
def test_the_title_goes_by_the_exit_code(code: int, totals: Totals | None, words: str) -> None:
    assert words in message_for(outcome(code, totals=totals)).title


def test_what_ended_a_run_is_told_first() -> None:
    message = message_for(outcome(2, totals=None, error="march.csv: 3 problems\n line 2"))
    assert list(message.lines) == ["error: march.csv: 3 problems line 2"]
    assert message.figures["state_file"] is None


async def test_a_state_file_adds_what_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    await build_mixed(path)
    found = with_state(outcome(totals=None), path)
    assert found.totals.all_rows == 7
    assert [reason.jobs for reason in found.reasons] == [2]
    assert found.run_id == "20260921-abcdef"
    (reason,) = found.reasons
    assert found.volumes == {reason.reason: [volume_id(2), volume_id(6)]}
    assert f"batchexport retry {path}  (retry 2 failed rows, once the causes are removed)" in found.to_do


async def test_after_a_closed_window_nobody_has_to_resume(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    await build_mixed(path)
    assert any("batchexport resume" in line for line in with_state(outcome(143), path).to_do)
    assert not any("batchexport resume" in line for line in with_state(outcome(75), path).to_do)


def test_a_state_file_that_cannot_be_read_is_the_error(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    path.write_text("no state file")
    assert with_state(outcome(totals=None), path).error
    assert with_state(outcome(totals=None, error="disk full"), path).error == "disk full"


def test_servers_that_are_down_come_first_and_failed_volumes_by_name() -> None:
    down = ResourceReport(
        target=TargetKey(),
        kind="server",
        resource_id="s1",
        name="web",
        state=ResourceState.HELD,
        acquiring_at=0.0,
        held_at=1.0,
        note=None,
        volume_ids=(),
    )
    reason = ReasonCount(reason="in use", code=None, jobs=3)
    message = message_for(
        outcome(servers=[down], reasons=[reason], volumes={"in use": ["db-01", "db-02"]}, to_do=["command"])
    )
    assert message.title == "batchexport nightly: 1 server still stopped; done, with failures (exit code 3)"
    assert list(message.lines) == [
        "1 server stopped for exports is still down: web",
        "8 of 10 volumes exported (80 GiB); 2 failed.",
        "3 rows: in use (db-01, db-02 and 1 more)",
        "to do: command",
    ]


def test_servers_that_were_stopped_and_the_cloud_are_told_by_name() -> None:
    times = [
        Downtime(
            target=TargetKey(),
            server_id=f"s{number}",
            name="web" if number == 1 else None,
            state=ServerState.RESTORED,
            stopping_at=0.0,
            down_at=60.0,
            up_at=2760.0,
            note=None,
            volume_ids=(),
        )
        for number in range(1, 8)
    ]
    message = message_for(outcome(0, downtimes=times, facts=[("cloud", "prod, region eu-de"), ("host", "h")]))
    assert (
        "servers stopped and up again: web 46 min, s2 46 min, s3 46 min, s4 46 min, s5 46 min and 2 more"
        in (message.lines)
    )
    assert "cloud: prod, region eu-de" in message.lines and "host: h" in message.lines
