from typing import Any

import pytest

from batchexport.model import ImageQuota
from batchexport.plan import Finding, PlanSummary, Severity, summary
from batchexport.store import NeverAttempted
from tests.plan.records import job, volume


def finding(weight: Any) -> Finding:
    return Finding(severity=weight, code="c", words="w")


def outlook_of(*weights: Any, **changes: Any) -> Any:
    """Rows of 10 GiB each, each with one finding of this weight; None = none."""
    found = PlanSummary(**changes)
    for number, weight in enumerate(weights, 1):
        row = NeverAttempted(line=number + 1, job=job(number))
        found.add(row, volume(number), [finding(weight)] if weight else [])
    return found


def test_rows_that_go_make_up_the_sums() -> None:
    found = outlook_of(None, Severity.WARNING, Severity.BLOCKED, Severity.EXCLUDED, None)
    assert (found.rows, found.to_export, found.cannot) == (5, 3, 1)
    assert (found.gib, found.max_gib, found.sized) == (30, 10, 3)
    assert [row.line for row in found.kept] == [3, 4, 5]


def test_servers_are_noted_of_rows_that_stop_them() -> None:
    found = PlanSummary()
    for number, weight in enumerate([Severity.NEEDS_STOP, Severity.BLOCKED, Severity.NEEDS_STOP], 1):
        held = volume(number, status="in-use", servers=["web"])
        found.add(NeverAttempted(line=number, job=job(number)), held, [finding(weight)])
    (volume_ids,) = found.volumes_by_server.values()
    assert len(volume_ids) == 2
    assert (found.to_export, found.gib) == (2, 20)


def test_a_row_counts_once_by_its_gravest_finding() -> None:
    found = PlanSummary()
    found.add(NeverAttempted(line=2, job=job()), None, [finding(Severity.WARNING), finding(Severity.BLOCKED)])
    assert dict(found.by_severity) == {Severity.BLOCKED: 1}
    assert (found.gib, found.sized) == (0, 0)


def test_rows_not_looked_at_are_in_the_sums_where_they_belong() -> None:
    found = outlook_of(None, unseen=4, presumed_missing=2)
    assert (found.all_rows, found.to_export, found.cannot) == (7, 5, 2)


def test_a_quota_too_small_stops_rows() -> None:
    assert outlook_of(None, None, None, quota=ImageQuota(allowed=10, used=8)).over_quota == 1
    assert outlook_of(None, None, quota=ImageQuota(allowed=10, used=8)).cannot == 0
    assert outlook_of(None, quota=ImageQuota(allowed=10, used=12)).cannot == 1


def test_findings_beyond_many_are_counted_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "MAX_KEPT", 2)
    found = outlook_of(*[Severity.BLOCKED] * 5)
    assert (len(found.kept), found.not_kept, found.cannot) == (2, 3, 5)
