from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.changes import Ended
from batchexport.model import Ending, JobState
from batchexport.report import causes as module
from batchexport.report.advice import advice_on
from batchexport.report.causes import MAX_EXAMPLES, OTHER_REASONS, Causes, normalized_reason, top_reasons
from batchexport.store import JobReport, StateFile, StateReader
from tests.report.test_timeline import job
from tests.store.making import claim, make, volume

FIRST, SECOND = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325", "9823beb1-e6ba-4ad7-8de4-5321ad915a36"


def failed(number: int, reason: str, **facts: Any) -> JobReport:
    return replace(job(number, JobState.FAILED, reason=reason), **{"request_id": f"req-{number}", **facts})


def test_rows_whose_words_differ_in_ids_and_attempts_only_have_one_cause() -> None:
    causes = Causes()
    causes.add(failed(1, f"Volume {FIRST} is in-use (attempt 5 of 5)", code="in_use", status=400))
    causes.add(failed(2, f"Volume {SECOND} is in-use (attempt 3 of 3)", code="in_use", status=400))
    (cause,) = causes.ranked()
    assert (cause.words, cause.rows, cause.gib) == ("Volume … is in-use", 2, 20)
    assert [each.request_id for each in cause.examples] == ["req-1", "req-2"]


def test_an_image_that_is_not_as_it_should_be_is_a_cause_though_its_row_succeeded() -> None:
    causes = Causes()
    causes.add(job(1, JobState.SUCCEEDED, reason="active"))
    causes.add(replace(job(2, JobState.SUCCEEDED, reason="active, but it holds 0 bytes"), code="image_short"))
    (cause,) = causes.ranked()
    assert (cause.words, cause.rows) == ("active, but it holds 0 bytes", 1)
    assert "--again" in cause.advice


def test_the_same_words_with_another_code_are_another_cause() -> None:
    causes = Causes()
    causes.add(failed(1, "no", code="A"))
    causes.add(failed(2, "no", code="B"))
    assert [cause.code for cause in causes.ranked()] == ["A", "B"]


def test_failures_come_first_and_the_most_frequent_of_them() -> None:
    causes = Causes()
    for number in range(3):
        causes.add(job(number, JobState.SKIPPED, reason="attached"))
    causes.add(job(4, JobState.AMBIGUOUS, reason="two images"))
    causes.add(failed(5, "rare"))
    for number in range(6, 8):
        causes.add(failed(number, "often"))
    assert [(cause.state, cause.words) for cause in causes.ranked()] == [
        (JobState.FAILED, "often"),
        (JobState.FAILED, "rare"),
        (JobState.AMBIGUOUS, "two images"),
        (JobState.SKIPPED, "attached"),
    ]


def test_rows_in_no_trouble_are_passed_over() -> None:
    causes = Causes()
    for state in (JobState.SUCCEEDED, JobState.PENDING, JobState.EXPORTING):
        causes.add(job(1, state))
    assert causes.ranked() == []


def test_only_some_rows_are_named() -> None:
    causes = Causes()
    for number in range(MAX_EXAMPLES + 3):
        causes.add(failed(number, "no"))
    (cause,) = causes.ranked()
    assert (cause.rows, len(cause.examples)) == (MAX_EXAMPLES + 3, MAX_EXAMPLES)


def test_a_cloud_that_never_says_the_same_twice_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CAUSES", 2)
    causes = Causes()
    for word in ("one", "two", "three", "four", "one"):
        causes.add(failed(1, word))
    assert [(cause.words, cause.rows) for cause in causes.ranked()] == [
        ("one", 2),
        ("other reasons, each in its own words", 2),
        ("two", 1),
    ]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (None, "no reason was given"),
        ("two\n  lines", "two lines"),
        (f"request req-{FIRST} failed", "request … failed"),
        (FIRST.replace("-", ""), "…"),
    ],
)
def test_words_are_told_plainly(reason: str | None, words: str) -> None:
    assert normalized_reason(reason) == words


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"code": "in_use", "status": 400}, "detach"),
        ({"code": "volume_not_found", "status": 404}, "no such volume"),
        ({"code": "image_gone"}, "request ids"),
        ({"status": 413, "words": "Quota exceeded"}, "quota"),
        ({"status": 500}, "operators"),
        ({"status": 403}, "permission"),
        ({"status": 429}, "--requests-per-second"),
        ({"status": 418}, "Fix what the cloud names"),
        ({}, "Fix what the cloud names"),
        ({"state": JobState.AMBIGUOUS}, "reconcile"),
        ({"state": JobState.SKIPPED, "code": "in_use"}, "retry --skipped"),
        ({"state": JobState.SKIPPED, "code": "exported_elsewhere"}, "--skipped --again"),
        ({"state": JobState.SKIPPED, "code": "not_listed"}, "back into the list"),
    ],
)
def test_advice_goes_by_state_then_code_then_words_then_status(facts: dict[str, Any], word: str) -> None:
    known = {"state": JobState.FAILED, "code": None, "status": None, "words": ""} | facts
    state = known.pop("state")
    assert word in advice_on(state, **known)


async def failed_file(path: Path, *reasons: str) -> StateReader:
    """A state file with a failed row for each of these reasons."""
    make(path, len(reasons))
    async with StateFile.open(path) as state:
        work = await state.take(1)
        for reason in reasons:
            (job,) = await claim(work)
            work.apply(
                Ended(
                    job=job,
                    after=JobState.FAILED,
                    ending=Ending(reason=reason, code="X.1", status=400),
                    at_s=1.0,
                )
            )
        await work.release()
    return StateReader(path)


async def test_reasons_that_differ_in_their_ids_are_one(tmp_path: Path) -> None:
    gone = [f"volume {volume(number)} is gone (attempt {number} of 9)" for number in range(1, 5)]
    odd = f"image {volume(1)} is odd"
    with await failed_file(tmp_path / "a.state", *gone, "no room", "no room", odd) as reader:
        assert [(each.reason, each.jobs) for each in top_reasons(reader, 3)] == [
            ("volume … is gone", 4),
            ("no room", 2),
            (odd, 1),
        ]
        assert len(top_reasons(reader, 1)) == 1


async def test_reasons_without_end_fill_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchexport.report.causes.MAX_CAUSES", 2)
    with await failed_file(tmp_path / "a.state", "a", "b", "c", "d", "e") as reader:
        assert {(each.reason, each.jobs) for each in top_reasons(reader, 9)} == {
            ("a", 1),
            ("b", 1),
            (OTHER_REASONS, 3),
        }
