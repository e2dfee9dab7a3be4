from typing import Any

import pytest

from batchexport.model import NO_OPTIONS, JobState, TargetKey
from batchexport.report.timeline import (
    MAX_BARS,
    MAX_FAILED_BARS,
    MAX_STEPS,
    BarKind,
    Mark,
    TimelineBuilder,
    mark_of,
    step_width_s,
)
from batchexport.store import AttemptReport, JobReport

AT = 1_790_000_000.0
HERE = TargetKey()


def job(
    number: int,
    state: JobState,
    *,
    begin: float | None = None,
    end: float | None = None,
    gib: int | None = 10,
    reason: str | None = None,
) -> JobReport:
    return JobReport(
        job_id=number,
        line=number + 1,
        target=HERE,
        volume_id=f"volume-{number}",
        image_name=f"image-{number}",
        state=state,
        image_id=None,
        options=NO_OPTIONS,
        size_gib=gib,
        attempts=1,
        reason=reason,
        code=None,
        status=None,
        request_id=None,
        intent_at=None,
        accepted_at=None if begin is None else AT + begin,
        finished_at=None if end is None else AT + end,
        next_at=None,
        deadline_at=None,
    )


def repeated(
    *,
    status: int | None = None,
    code: str | None = None,
    reason: str | None = None,
    begin: int | None = None,
    end: float = 5.0,
) -> AttemptReport:
    return AttemptReport(
        target=HERE,
        job_id=1,
        volume_id="volume-1",
        size_gib=10,
        accepted_at=None if begin is None else AT + begin,
        attempt=1,
        intent_at=AT,
        ended_at=AT + end,
        outcome=JobState.PENDING,
        image_id=None,
        request_id=None,
        status=status,
        code=code,
        reason=reason,
    )


def test_an_export_is_a_bar_and_counts_in_the_step_of_its_end() -> None:
    course = TimelineBuilder(AT, AT + 60)
    course.add_job(job(1, JobState.SUCCEEDED, begin=10, end=30, gib=7))
    timeline = course.timeline()
    (bar,) = timeline.bars
    assert (bar.kind, bar.began_at, bar.took_s, bar.words) == (BarKind.SUCCEEDED, AT + 10, 20, "image-1")
    assert timeline.step_s == 1
    assert [(step.succeeded, step.gib) for step in timeline.steps if step.succeeded] == [(1, 7)]
    assert timeline.steps[30].succeeded == 1


def test_exports_under_way_add_up_to_the_time_they_took() -> None:
    course = TimelineBuilder(AT, AT + 600)
    spans = [(0, 600), (3, 4), (12.5, 99), (100, 101), (599, 600)]
    for number, (begin, end) in enumerate(spans):
        course.add_job(job(number, JobState.SUCCEEDED, begin=begin, end=end))
    timeline = course.timeline()
    assert timeline.step_s == 10
    total = sum(step.under_way for step in timeline.steps) * timeline.step_s
    assert total == pytest.approx(sum(end - begin for begin, end in spans))
    assert timeline.steps[20].under_way == pytest.approx(1)


def test_an_export_that_goes_on_reaches_to_the_end() -> None:
    course = TimelineBuilder(AT, AT + 100)
    course.add_job(job(1, JobState.EXPORTING, begin=40))
    (bar,) = course.timeline().bars
    assert (bar.kind, bar.ended_at) == (BarKind.UNDER_WAY, AT + 100)


def test_a_failed_export_shows_its_reason_and_a_refused_row_has_no_bar() -> None:
    course = TimelineBuilder(AT, AT + 100)
    course.add_job(job(1, JobState.FAILED, begin=1, end=50, reason="no space"))
    course.add_job(job(2, JobState.FAILED, end=60, reason="volume is in-use"))
    course.add_job(job(3, JobState.PENDING))
    timeline = course.timeline()
    assert [(bar.kind, bar.words) for bar in timeline.bars] == [(BarKind.FAILED, "no space")]
    assert sum(step.failed for step in timeline.steps) == 2


def test_an_export_that_is_tried_again_has_a_bar_of_its_own() -> None:
    course = TimelineBuilder(AT, AT + 100)
    course.add_repeated(repeated(begin=5, end=25, reason="the cloud removed the image"))
    (bar,) = course.timeline().bars
    assert (bar.kind, bar.took_s) == (BarKind.TRIED_AGAIN, 20)
    assert not course.timeline().marks


def test_of_many_exports_the_longest_are_shown_and_enough_of_the_failed() -> None:
    course = TimelineBuilder(AT, AT + 10_000)
    for number in range(1, 201):
        course.add_job(job(number, JobState.SUCCEEDED, begin=number, end=3 * number))
    for number in range(201, 301):
        course.add_job(job(number, JobState.FAILED, begin=number, end=number + (number - 200) / 100))
    timeline = course.timeline()
    failed = [bar for bar in timeline.bars if bar.kind is BarKind.FAILED]
    assert (len(timeline.bars), len(failed), timeline.exports) == (MAX_BARS, MAX_FAILED_BARS, 300)
    assert min(bar.took_s for bar in failed) == pytest.approx(0.85)
    assert {bar.took_s for bar in timeline.bars if bar not in failed} == {2 * n for n in range(169, 201)}
    assert timeline.bars == sorted(timeline.bars, key=lambda bar: bar.began_at)


def test_where_only_failed_exports_are_all_bars_are_theirs() -> None:
    course = TimelineBuilder(AT, AT + 1000)
    for number in range(60):
        course.add_job(job(number, JobState.FAILED, begin=number, end=number + 2))
    assert len(course.timeline().bars) == MAX_BARS


@pytest.mark.parametrize(
    ("facts", "mark"),
    [
        ({"status": 429}, Mark.THROTTLED),
        ({"status": 413, "reason": "Over limit"}, Mark.THROTTLED),
        ({"status": 202, "code": "Common.0024"}, Mark.THROTTLED),
        ({"status": 413, "reason": "Image quota exceeded"}, Mark.STOPPED),
        ({"status": 401}, Mark.STOPPED),
        ({"status": 403}, Mark.STOPPED),
        ({"status": 503}, Mark.NO_SERVICE),
        ({"status": 408}, Mark.NO_SERVICE),
        ({"status": None, "reason": "no connection"}, Mark.NO_SERVICE),
        ({"status": None, "code": "not_sent"}, None),
        ({"status": 400, "reason": "the volume is backing-up"}, None),
    ],
)
def test_what_held_a_run_up_is_told_from_what_the_cloud_said(
    facts: dict[str, Any], mark: Mark | None
) -> None:
    assert mark_of(repeated(**facts)) is mark


def test_marks_stand_in_their_step() -> None:
    course = TimelineBuilder(AT, AT + 60)
    for end in (5.1, 5.2, 33):
        course.add_repeated(repeated(status=429, end=end))
    course.add_repeated(repeated(status=400, end=7))
    timeline = course.timeline()
    assert timeline.marks == {Mark.THROTTLED: 3}
    assert timeline.steps[5].marks[Mark.THROTTLED] == 2


def test_times_of_another_clock_count_at_the_edge() -> None:
    course = TimelineBuilder(AT, AT + 10)
    course.add_job(job(1, JobState.SUCCEEDED, begin=-5, end=99))
    timeline = course.timeline()
    assert timeline.steps[-1].succeeded == 1


def test_a_run_of_no_length_has_a_timeline() -> None:
    course = TimelineBuilder(AT, AT)
    course.add_job(job(1, JobState.SUCCEEDED, begin=0, end=0))
    assert course.timeline().ended_at > AT


@pytest.mark.parametrize("span_s", [0, 1, 59, 3600, 12 * 3600, 7 * 86400, 90 * 86400, 3 * 365 * 86400])
def test_no_span_has_more_steps_than_a_page_can_show(span_s: int) -> None:
    assert span_s // step_width_s(span_s) + 1 <= MAX_STEPS


def test_steps_have_handy_widths() -> None:
    assert [step_width_s(hours * 3600) for hours in (1, 8, 24)] == [60, 600, 1800]
