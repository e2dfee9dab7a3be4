"""What the audit trail of a run adds up to."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.changes import RateLearned, Requeued
from batchexport.model import Ending, JobState
from batchexport.store import Span, StateFile, StateReader
from batchexport.store.sqlite import history
from tests.store.making import HERE, REFUSED, THERE, accept, bring, claim, make, row, volume

THROTTLED = Ending(reason="slow down", code="APIGW.0308", status=429)


@pytest.fixture
async def worked(tmp_path: Path) -> Path:
    """Three rows here, one of them put back twice, and one row there that nobody touched."""
    rows = [*(row(number) for number in (1, 2, 3)), row(4, target=THERE)]
    path = make(tmp_path / "a.state", rows)
    async with StateFile.open(path) as state:
        work = await state.take(state.targets[0].target_id)
        await bring(work, JobState.SUCCEEDED)
        await bring(work, JobState.FAILED)
        (job,) = await claim(work)
        work.apply(Requeued(job=job, ending=THROTTLED, at_s=110.0, next_at=0.0, counted=False))
        (job,) = await claim(work)
        accept(work, job)
        work.apply(Requeued(job=job, ending=REFUSED, at_s=250.0, next_at=500.0, counted=True))
        work.apply(RateLearned(2.5))
        await work.release()
    return path


def test_a_run_spans_from_its_first_export_to_its_last_ending(worked: Path) -> None:
    with StateReader(worked) as reader:
        assert reader.span() == Span(began_at=101.0, ended_at=250.0)


def test_a_run_that_did_nothing_has_no_span(tmp_path: Path) -> None:
    with StateReader(make(tmp_path / "a.state")) as reader:
        assert reader.span() == Span(began_at=None, ended_at=None)
        assert list(reader.attempts(JobState.PENDING)) == []
        assert list(reader.attempts(latest=5)) == []


def test_attempts_that_were_followed_by_another_are_told_in_order(worked: Path) -> None:
    with StateReader(worked) as reader:
        throttled, failed = reader.attempts(JobState.PENDING)
    assert (throttled.status, throttled.code, throttled.accepted_at) == (429, "APIGW.0308", None)
    assert (failed.accepted_at, failed.ended_at, failed.size_gib) == (101.0, 250.0, 10)
    assert throttled.volume_id == failed.volume_id == volume(3)
    assert throttled.target == HERE


def test_attempts_are_read_page_by_page(worked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_PAGE", 1)
    with StateReader(worked) as reader:
        assert [each.ended_at for each in reader.attempts(JobState.PENDING)] == [110.0, 250.0]


def test_the_latest_endings_come_first(worked: Path) -> None:
    with StateReader(worked) as reader:
        endings = list(reader.attempts(latest=2))
    assert [(each.ended_at, each.outcome) for each in endings] == [
        (250.0, JobState.PENDING),
        (110.0, JobState.PENDING),
    ]


def test_a_job_is_found_on_its_line_and_target(worked: Path) -> None:
    with StateReader(worked) as reader:
        (job,) = reader.jobs(job_ids=[4])
    assert (job.line, job.target) == (5, THERE)


def test_what_a_cloud_taught_stands_with_its_target(worked: Path) -> None:
    with StateReader(worked) as reader:
        assert [(each.key, each.requests_per_second) for each in reader.overview().targets] == [
            (HERE, 2.5),
            (THERE, None),
        ]
