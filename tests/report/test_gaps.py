from datetime import UTC
from pathlib import Path

import pytest

from batchexport.model import TargetKey
from batchexport.report.html import html_report
from batchexport.report.markdown import markdown_report
from batchexport.report.run_report import collect_report
from batchexport.report.text import iso_utc
from batchexport.report.timeline import Gap, find_gaps, gap_text
from batchexport.store import Holder, Processes, StateFile, StateReader, WorkPeriod
from batchexport.store.owner import this_process
from tests.report.runs import EVENING, make_run
from tests.store.making import alter


def worked(
    began_at: float, ended_at: int | None, *, was_lost: bool = False, target_id: int = 1
) -> WorkPeriod:
    return WorkPeriod(target_id=target_id, began_at=began_at, ended_at=ended_at, was_lost=was_lost)


def held(*, alive: bool | None, lease_until: float = 130.0) -> Holder:
    return Holder(target=TargetKey(), owner=this_process(now=100.0), alive=alive, lease_until=lease_until)


def processes(periods: list[WorkPeriod], *holders: Holder) -> Processes:
    return Processes(holders=list(holders), periods=periods, last_end=None)


def stopped(at: float, resumed_at: int | None, *, was_lost: bool = False) -> Gap:
    return Gap(stopped_at=at, resumed_at=resumed_at, was_lost=was_lost)


@pytest.mark.parametrize(
    ("sessions", "unfinished", "gaps"),
    [
        ([], True, []),
        ([worked(10, 20)], False, []),
        ([worked(10, 20)], True, [stopped(20, None)]),
        ([worked(10, 20), worked(50, 60)], False, [stopped(20, 50)]),
        ([worked(10, 20, was_lost=True), worked(50, 60)], False, [stopped(20, 50, was_lost=True)]),
        ([worked(10, 20), worked(20.5, 60)], False, []),
        ([worked(10, 90), worked(11, 20, target_id=2), worked(50, 60)], False, []),
        ([worked(10, 20), worked(10, 21, target_id=2), worked(50, 60)], False, [stopped(21, 50)]),
    ],
)
def test_a_break_is_where_nobody_is_at_work(
    sessions: list[WorkPeriod], unfinished: bool, gaps: list[Gap]
) -> None:
    assert find_gaps(processes(sessions), unfinished=unfinished) == gaps


@pytest.mark.parametrize("alive", [True, None])
def test_who_may_be_at_work_makes_no_break(alive: bool | None) -> None:
    assert find_gaps(processes([worked(10, None)], held(alive=alive)), unfinished=True) == []


def test_who_died_was_last_seen_at_the_renewal_of_the_lease() -> None:
    died = held(alive=False, lease_until=130.0)
    found = find_gaps(processes([worked(10, None)], died), unfinished=True)
    assert found == [stopped(100.0, None, was_lost=True)]


@pytest.mark.parametrize(
    ("each", "words"),
    [
        (stopped(0, 60), "stopped 1970-01-01T00:00:00Z, resumed 1970-01-01T00:01:00Z"),
        (stopped(0, None, was_lost=True), "crashed about 1970-01-01T00:00:00Z, not resumed"),
    ],
)
def test_a_break_in_words(each: Gap, words: str) -> None:
    assert gap_text(each, iso_utc) == words


@pytest.fixture
async def interrupted(tmp_path: Path) -> Path:
    """A night that was stopped and carried on, killed and carried on, and stopped with work left."""
    path = await make_run(tmp_path / "a.state", 200, until_s=2400)
    alter(path, "DELETE FROM session")
    for began_s, ended_s, was_lost in [(0, 900, 0), (960, 1500, 1), (1600, 9000, 0)]:
        times = f"{EVENING + began_s}, {EVENING + ended_s}, {was_lost}"
        alter(path, f"INSERT INTO session (target_id, began_at, ended_at, was_lost) VALUES (1, {times})")
    return path


async def test_the_page_shows_stops_and_when_the_run_was_resumed(interrupted: Path) -> None:
    with StateReader(interrupted) as reader:
        report = collect_report(reader, now=EVENING + 9000)
    assert [each.was_lost for each in report.timeline.gaps] == [False, True, False]
    page = html_report(report, zone=UTC)
    assert "idle 3" in page
    assert "stopped 22:15:00, resumed 22:16:00" in page
    assert "crashed about 22:25:00, resumed 22:26:40" in page
    assert "not resumed" in page
    text = "\n".join(markdown_report(report))
    assert "Idle: stopped 2026-09-21T22:15:00Z, resumed 2026-09-21T22:16:00Z" in text


async def test_a_later_look_at_a_night_that_was_done_is_no_part_of_it(tmp_path: Path) -> None:
    path = await make_run(tmp_path / "a.state", 20)
    async with StateFile.open(path) as state:
        await (await state.take(1)).release()
    with StateReader(path) as reader:
        report = collect_report(reader, now=EVENING + 90_000)
    assert report.totals.to_do == 0
    assert list(report.timeline.gaps) == []
