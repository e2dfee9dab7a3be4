"""How many GiB a run may export: what counts, and what fits."""

from __future__ import annotations

import pytest

from batchexport.changes import Claimed, Ended, Requeued, Snoozed, Started
from batchexport.config import Settings
from batchexport.engine import Controls, GibBudget
from batchexport.model import NO_OPTIONS, Accepted, Ending, Job, JobState

RUN = "20270101-abcdef"
WHY = Ending(reason="busy")


def job(number: int, gib: int | None) -> Job:
    return Job(job_id=number, volume_id=str(number), image_name="i", options=NO_OPTIONS, size_gib=gib)


def started(one: Job, gib: int) -> Started:
    return Started.by(one, Accepted(image_id="i", size_gib=gib, request_id=None), at_s=1.0, deadline_at=2.0)


def test_what_is_claimed_counts_until_it_comes_to_nothing() -> None:
    budget = GibBudget(100)
    for number in (1, 2, 3):
        budget.note(RUN, Claimed(job=job(number, 30)))
    assert budget.left == 10
    budget.note(RUN, Snoozed(job=job(1, 30), next_at=0.0))
    assert budget.left == 40
    requeued = Requeued(job=job(2, 30), ending=WHY, at_s=1.0, next_at=0.0, counted=True)
    budget.note(RUN, requeued)
    assert budget.left == 70
    budget.note(RUN, Ended(job=job(3, 30), after=JobState.FAILED, ending=WHY, at_s=1.0))
    assert budget.left == 100


def test_what_was_exported_stays_counted_whatever_is_tried_later() -> None:
    budget = GibBudget(100)
    budget.note(RUN, Claimed(job=job(1, 30)))
    budget.note(RUN, started(job(1, 30), 30))
    budget.note(RUN, Ended(job=job(1, 30), after=JobState.SUCCEEDED, ending=WHY, at_s=1.0))
    budget.note(RUN, Claimed(job=job(1, 30)))
    assert budget.left == 40
    budget.note("another run", Claimed(job=job(1, 10)))
    assert budget.left == 30


def test_an_export_that_an_earlier_process_began_does_not_count() -> None:
    budget = GibBudget(100)
    budget.note(RUN, Ended(job=job(7, 30), after=JobState.SUCCEEDED, ending=WHY, at_s=1.0))
    budget.note(RUN, started(job(8, 30), 30))
    assert budget.left == 100


def test_as_many_fit_as_are_not_too_many_together_and_one_at_least() -> None:
    budget = GibBudget(100)
    assert [one.job_id for one in budget.fitting([job(1, 60), job(2, 40), job(3, 1)])] == [1, 2]
    assert [one.job_id for one in budget.fitting([job(1, 600), job(2, 40)])] == [1]


def test_volumes_of_unknown_size_begin_a_few_at_a_time() -> None:
    budget = GibBudget(800)
    many = [job(number, None) for number in range(100)]
    assert len(budget.fitting(many)) == 8
    budget.note(RUN, Claimed(job=many[0]))
    budget.note(RUN, started(many[0], 400))
    assert budget.left == 400
    assert len(budget.fitting(many[1:])) == 1, "the next may be as large"


@pytest.mark.parametrize(("window", "left", "expected"), [(50, 100, 50), (500, 100, 100), (0, 100, 0)])
def test_the_tightest_limit_holds(window: int, left: int, expected: int) -> None:
    controls = Controls(Settings(), max_gib_at=lambda now: window, budget=GibBudget(left))
    assert controls.max_gib_at(0.0) == expected
    controls.is_paused = True
    assert controls.max_gib_at(0.0) == 0


def test_without_limits_any_volume_may_begin() -> None:
    assert Controls(Settings()).max_gib_at(0.0) is None
