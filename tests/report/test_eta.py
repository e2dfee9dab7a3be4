from collections import Counter

import pytest

from batchexport.model import JobState, TargetKey
from batchexport.report.eta import Eta, RunningExport, estimate, eta_lines, gib_left
from batchexport.report.totals import Totals
from batchexport.store import AttemptReport

NOW = 10_000.0


def totals(*, pending: int, gib: int = 0, succeeded: int = 0, gib_done: int = 0, unsized: int = 0) -> Totals:
    rows = Counter({JobState.PENDING: pending, JobState.SUCCEEDED: succeeded})
    sizes = Counter({JobState.PENDING: gib, JobState.SUCCEEDED: gib_done})
    return Totals(rows, sizes, pending + succeeded - unsized, unsized)


def ended(
    ago_s: int,
    gib: int | None = 100,
    outcome: JobState = JobState.SUCCEEDED,
    *,
    took_s: int | None = None,
    was_sent: bool = True,
) -> AttemptReport:
    return AttemptReport(
        target=TargetKey(),
        job_id=1,
        volume_id="v",
        size_gib=gib,
        attempt=1,
        intent_at=0.0 if was_sent else None,
        accepted_at=None if took_s is None else NOW - ago_s - took_s,
        ended_at=NOW - ago_s,
        outcome=outcome,
        image_id=None,
        status=None,
        code=None,
        reason=None,
        request_id=None,
    )


def test_the_rest_is_weighed_by_size() -> None:
    # 300 GiB in 15 minutes; 100 small rows of 600 GiB together take half an hour, however many they are.
    found = estimate(
        totals(pending=100, gib=600, succeeded=3, gib_done=300),
        [ended(s) for s in (1, 400, 800)],
        began_at=0.0,
        now=NOW,
    )
    assert found.left_s == pytest.approx(1800)
    assert found.gib_per_hour == pytest.approx(1200)
    assert found.rows_per_minute == pytest.approx(0.2)


def test_a_young_run_is_measured_from_its_beginning() -> None:
    found = estimate(totals(pending=1, gib=100), [ended(1)], began_at=NOW - 60, now=NOW)
    assert found.left_s == pytest.approx(60)


def test_without_sizes_rows_are_counted() -> None:
    found = estimate(totals(pending=30, unsized=30), [ended(1, None)], began_at=NOW - 60, now=NOW)
    assert found.gib_per_hour is None
    assert found.left_s == pytest.approx(1800)


def test_what_ended_long_ago_or_only_to_be_tried_again_says_nothing() -> None:
    stale = [ended(901), ended(2, outcome=JobState.PENDING)]
    found = estimate(totals(pending=1, gib=100), stale, began_at=0.0, now=NOW)
    assert found == Eta(rows_per_minute=None, gib_per_hour=None, left_s=None)
    assert eta_lines(found, [], now=NOW) == ["pace: nothing ended in the last quarter of an hour"]


def test_rows_of_unknown_size_count_as_the_mean() -> None:
    assert gib_left(totals(pending=4, gib=20, succeeded=2, gib_done=40, unsized=2)) == pytest.approx(
        20 + 2 * 15
    )
    assert gib_left(totals(pending=4, unsized=4)) is None


def test_the_words_name_pace_rest_and_limits() -> None:
    view = Eta(rows_per_minute=2.25, gib_per_hour=5300, left_s=7500)
    assert eta_lines(view, [(TargetKey("east"), 3.5)], now=NOW) == [
        "pace: 5,300 GiB/h, 2.2 rows/min lately, about 2 h 5 min left",
        "throttled to 3.5 requests/s by the cloud",
    ]
    two = eta_lines(view, [(TargetKey("east"), 3.5), (TargetKey("west"), 12.4)], now=NOW)
    assert two[1:] == [
        "throttled to 3.5 requests/s by cloud east",
        "throttled to 12 requests/s by cloud west",
    ]


def exporting(age_s: int, gib: int = 100) -> RunningExport:
    return RunningExport(name="v", size_gib=gib, accepted_at=NOW - age_s)


def took(ago_s: int, seconds: int, gib: int) -> AttemptReport:
    return ended(ago_s, gib, took_s=seconds)


#: Ten seconds a GiB, and an expectation with a fifth more room.
STEADY = [took(5, 1000, 100), took(50, 100, 10), took(90, 500, 50)]


def test_no_export_is_promised_to_end_sooner_than_those_before_it() -> None:
    rest = totals(pending=0, succeeded=3, gib_done=160)
    rest.rows[JobState.EXPORTING], rest.gib[JobState.EXPORTING] = 1, 400
    found = estimate(rest, STEADY, began_at=NOW - 900, now=NOW, under_way=[exporting(100, 400)])
    assert found.left_s == pytest.approx(1.2 * 4000 - 100)


def test_the_last_one_that_is_late_leaves_nothing_to_promise() -> None:
    rest = totals(pending=0, succeeded=3, gib_done=160)
    rest.rows[JobState.EXPORTING], rest.gib[JobState.EXPORTING] = 1, 10
    found = estimate(rest, STEADY, began_at=NOW - 900, now=NOW, under_way=[exporting(600, 10)])
    assert (found.left_s, found.late) == (None, 1)
    assert eta_lines(found, [], now=NOW)[0].endswith("1 export takes longer than those before")


def test_where_nothing_has_ended_for_long_that_is_said_and_nothing_promised() -> None:
    endings = [took(700, 100, 10), took(710, 100, 10), took(720, 100, 10)]
    found = estimate(
        totals(pending=5, gib=50), endings, began_at=NOW - 900, now=NOW, under_way=[exporting(690, 1000)]
    )
    assert found.left_s is None
    assert found.quiet_s == pytest.approx(700)
    assert "nothing has ended for 11 min 40 s" in eta_lines(found, [], now=NOW)[0]


def test_rows_that_were_never_sent_say_nothing_about_the_pace() -> None:
    refused = [ended(1, None, JobState.FAILED, was_sent=False)] * 100
    found = estimate(totals(pending=10, gib=100), [*refused, ended(1)], began_at=NOW - 60, now=NOW)
    assert found.rows_per_minute == pytest.approx(1)
