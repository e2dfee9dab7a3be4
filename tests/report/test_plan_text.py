import json
from typing import Any

import pytest

from batchexport.config import Limits
from batchexport.model import ImageQuota, Server, TargetKey
from batchexport.plan import Finding, PlanSummary, RowFindings, Severity, summary
from batchexport.report.plan import plan_json, plan_text
from batchexport.store import NeverAttempted
from tests.plan.records import job, volume

HERE = TargetKey()
FINDING = Finding(severity=Severity.BLOCKED, code="volume_status", words="the volume is error")


def seen(rows: list[int], *, cannot: tuple[Any, ...] | list[int] = (), **changes: Any) -> Any:
    """Rows of 10 GiB; those in `cannot` have a finding."""
    found = PlanSummary(**changes)
    for number in rows:
        findings = [FINDING] if number in cannot else []
        found.add(NeverAttempted(line=number + 1, job=job(number)), volume(number), findings)
    return found


def text(found: Any) -> str:
    return plan_text({HERE: found}, Limits())


def test_findings_stand_in_the_order_of_the_list() -> None:
    lines = text(seen([3, 1, 2], cannot=[3, 1])).splitlines()
    assert lines[0].split() == ["LINE", "NAME", "VOLUME", "GIB", "ROW", "FINDING"]
    assert [line.split()[0] for line in lines[1:3]] == ["2", "4"]
    assert lines[1].endswith("10  cannot go  the volume is error")
    assert lines[4] == "3 rows: 1 to export, 2 cannot go"


def test_volumes_without_names_need_no_column_for_them() -> None:
    found = PlanSummary()
    found.add(NeverAttempted(line=2, job=job(1)), None, [FINDING])
    assert text(found).splitlines()[0].split() == ["LINE", "VOLUME", "GIB", "ROW", "FINDING"]


def test_sums_alone_where_nothing_was_found() -> None:
    assert text(seen([1])).splitlines() == [
        "1 row: 1 to export",
        "images: 0 in the project; the cloud does not report its quota",
        "10 GiB, the largest volume 10 GiB; about 1 min to 4 min, if 40 exports at once do 320 to 40 MiB/s"
        " each",
    ]


def test_what_is_left_out_and_what_may_fail_are_told_apart() -> None:
    found = seen([1])
    for number, weight in ((2, Severity.EXCLUDED), (3, Severity.WARNING)):
        finding = Finding(severity=weight, code="in_use", words="in use")
        found.add(NeverAttempted(line=number, job=job(number)), volume(number), [finding])
    assert "3 rows: 2 to export (1 may fail), 1 left out" in text(found)


def test_servers_to_be_stopped_are_named_with_their_volumes() -> None:
    found = seen([1])
    finding = Finding(
        severity=Severity.NEEDS_STOP, code="in_use", words="attached to server web, to be stopped"
    )
    held = volume(2, status="in-use", servers=["web", "db"])
    found.add(NeverAttempted(line=3, job=job(2)), held, [finding])
    found.servers["web"] = Server(server_id="web", status="active", name="www")
    told = text(found).splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in told if line.startswith(("web", "db"))}
    assert rows == {
        "db": ["not", "listed", "vol", f"({held.volume_id})"],
        "web": ["www", "active", "vol", f"({held.volume_id})"],
    }
    assert "1 running server would be stopped and restarted" in told
    assert any(line.endswith("attached to server www (web), to be stopped") for line in told)
    assert "2 rows: 2 to export (1 once servers are stopped)" in told
    content = json.loads(plan_json({HERE: found}, Limits()))["targets"][0]
    assert content["stops_servers"] == 1
    assert [server["status"] for server in content["servers"]] == [None, "active"]


@pytest.mark.parametrize(("allowed", "told"), [(50, False), (48, True)])
def test_a_quota_is_told_and_what_it_is_too_small_for(allowed: int, told: bool) -> None:
    lines = text(seen([1, 2, 3], quota=ImageQuota(allowed=allowed, used=46)))
    assert f"images: 46 of {allowed} used, {allowed - 46} may be made" in lines
    assert ("the quota is too small for 1 row" in lines) is told


def test_rows_that_were_not_looked_at_are_told() -> None:
    assert "4 rows not checked" in text(seen([1], unseen=4))
    assert "10 GiB in 1 row, the largest" in text(seen([1], unseen=4))
    assert "4 rows of these: the volume is in no list" in text(seen([], presumed_missing=4))


def test_findings_beyond_many_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "MAX_KEPT", 1)
    found = seen([1, 2, 3], cannot=[1, 2, 3])
    assert "… and 2 rows more with findings" in text(found)
    (target,) = json.loads(plan_json({HERE: found}, Limits()))["targets"]
    assert (len(target["findings"]), target["rows_with_findings_left_out"]) == (1, 2)


def test_json_holds_the_quota_and_every_finding() -> None:
    found = seen([1, 2], cannot=[2], quota=ImageQuota(allowed=9, used=1))
    content = json.loads(plan_json({HERE: found}, Limits()))
    assert content["every_row_can_go"] is False
    (target,) = content["targets"]
    assert target["image_quota"] == {"allowed": 9, "used": 1}
    assert target["findings"] == [
        {
            "line": 3,
            "volume_id": volume(2).volume_id,
            "volume_name": volume(2).name,
            "size_gib": 10,
            "weight": "cannot go",
            "code": "volume_status",
            "words": "the volume is error",
        }
    ]


def test_a_row_with_a_volume_of_unknown_size_shows_none() -> None:
    found = PlanSummary()
    found.add(NeverAttempted(line=2, job=job()), None, [FINDING])
    assert found.kept == [RowFindings(line=2, volume_id=job().volume_id, size_gib=None, findings=(FINDING,))]
    assert "None" not in text(found)
