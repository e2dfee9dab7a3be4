import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from batchexport.config.schedule import OnUnfinished, ScheduleConfig
from batchexport.errors import ConfigError
from batchexport.nightly_runs import (
    exclusive_lock,
    night_name,
    night_path,
    read_runs,
    remove_old,
    run_files,
    throughput_of,
    too_large,
    unfinished_before,
)
from batchexport.scheduling.cron import Schedule
from batchexport.scheduling.throughput import DEFAULT_THROUGHPUT
from batchexport.scheduling.window import Window, opening_on
from tests.nights.almanac import KILLED, WINDOW_CLOSED, Almanac, days_from, local
from tests.store.making import make

BERLIN = ZoneInfo("Europe/Berlin")
WINDOW = Window(opens_min=22 * 60, closes_min=6 * 60, zone=BERLIN)
EVENING = datetime(2027, 5, 1, 23, 30, tzinfo=BERLIN).timestamp()


def test_a_night_is_called_after_its_window_its_schedule_or_its_date() -> None:
    opening = opening_on(WINDOW, date(2027, 5, 1))
    schedule = Schedule(cron="15 */6 * * *", zone=BERLIN)
    assert night_name(ScheduleConfig(window=WINDOW, schedule=schedule), opening, EVENING) == "2027-05-01"
    assert night_name(ScheduleConfig(schedule=schedule), None, EVENING) == "2027-05-01T18-15"
    assert night_name(ScheduleConfig(), None, EVENING) == "2027-05-01"
    never = Schedule(cron="0 0 29 2 *", zone=BERLIN)
    assert night_name(ScheduleConfig(schedule=never), None, EVENING) == "2027-05-01"


def test_only_the_nights_of_the_job_are_found_in_order(tmp_path: Path) -> None:
    names = [
        "a-2027-05-02.state",
        "a-2027-05-01.state",
        "a-2027-05-01T18-15.state",
        "a-b-2027-05-01.state",
        "a-2027-05.state",
        "a-2027-05-01.state.sandbox",
    ]
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in run_files(tmp_path, "a")] == [names[1], names[2], names[0]]


def test_the_unfinished_night_is_the_last_one_before_tonight(tmp_path: Path) -> None:
    first, second = (make(tmp_path / f"a-2027-05-0{day}.state", 1) for day in (1, 2))
    known, unreadable = read_runs(run_files(tmp_path, "a"))
    assert unreadable == []
    assert unfinished_before(tmp_path / "a-2027-05-03.state", known).path == second
    assert unfinished_before(second, known).path == first
    assert unfinished_before(first, known) is None


@pytest.mark.parametrize(("policy", "left"), [(OnUnfinished.RESUME, 3), (OnUnfinished.ABANDON, 1)])
def test_an_unfinished_night_goes_only_if_it_was_given_up(
    tmp_path: Path, policy: OnUnfinished, left: Any
) -> None:
    for day in (1, 2, 3):
        make(night_path(tmp_path, "a", f"2027-05-0{day}"), 1)
        Path(tmp_path, f"a-2027-05-0{day}.state.sandbox").touch()
    gone = remove_old(run_files(tmp_path, "a"), keep=1, on_unfinished=policy)
    assert len(run_files(tmp_path, "a")) == left
    assert len(gone) == 3 - left
    assert len(list(tmp_path.iterdir())) == 2 * left


def test_a_file_that_cannot_be_read_teaches_no_pace(tmp_path: Path) -> None:
    (tmp_path / "a-2027-05-01.state").write_text("no state file")
    assert throughput_of(run_files(tmp_path, "a"), WINDOW) == DEFAULT_THROUGHPUT


def test_volumes_of_unknown_size_are_not_called_too_large(tmp_path: Path) -> None:
    assert too_large(make(tmp_path / "a.state", 3), 0) == []


def test_volumes_that_no_window_can_hold_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    almanac = Almanac(tmp_path, volumes=1, job="", hours="22:00-22:04")
    almanac.console.quiet = False
    almanac.sized(10)
    assert almanac.start_at(date(2033, 3, 1), 22) == 3  # no night ever goes on with it: somebody has to look
    stderr = capsys.readouterr().err
    assert "1 row left for the next run; the window opens again Wed 2033-03-02 22:00 CET" in stderr
    assert "1 volume larger than 2 GiB, the most that the whole window is expected to hold" in stderr


def test_one_state_file_for_all_nights_is_worked_off_over_several(tmp_path: Path) -> None:
    almanac = Almanac(tmp_path, volumes=3, state='state = "all.state"', max_exports=1, upload_s=150.0)
    assert almanac.start_at(date(2033, 4, 2), 6, 3) == WINDOW_CLOSED  # in the grace: nothing to go on with
    assert not (tmp_path / "all.state").exists()
    assert almanac.start_at(date(2033, 4, 3), 5, 50) == WINDOW_CLOSED
    assert almanac.start_at(date(2033, 4, 3), 22) == 0
    assert almanac.exports_outside() == []
    assert sum(almanac.exports_in(date(2033, 4, 3)).values()) == 2
    assert almanac.start_at(date(2033, 4, 4), 22) == 0
    assert len(almanac.cloud.records) == 3


def test_a_night_that_was_interrupted_goes_on_the_same_night(tmp_path: Path) -> None:
    almanac = Almanac(tmp_path, volumes=4, max_exports=2, upload_s=15.0)
    night = date(2033, 5, 2)
    assert almanac.start_at(night, 22, killed_after=2) == KILLED
    assert almanac.start_at(night, 23) == 0
    assert almanac.exports_in(night) == dict.fromkeys(almanac.ids, 1)
    assert list(almanac.states()) == [f"nightly-{night}.state"]
    assert datetime.fromtimestamp(local(night, 22), UTC).hour == 20


def test_a_lock_that_is_a_link_or_a_pipe_is_refused_and_its_target_left_alone(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".link.lock").symlink_to("victim")
    os.mkfifo(tmp_path / ".pipe.lock")
    for job, words in (("link", "symbolic link"), ("pipe", "no regular file")):
        with pytest.raises(ConfigError, match=words), exclusive_lock(tmp_path, job):
            pass
    assert (tmp_path / "victim").read_text() == "precious"


def exports_of(almanac: Any, volume_id: str, nights: Any) -> Any:
    return [almanac.exports_in(night).get(volume_id, 0) for night in nights]


@pytest.mark.parametrize(("policy", "year"), [("resume", 2034), ("skip", 2035), ("abandon", 2036)])
def test_a_volume_too_large_for_the_window_keeps_no_other_one_from_being_exported(
    tmp_path: Path, policy: OnUnfinished, year: Any
) -> None:
    almanac = Almanac(
        tmp_path, volumes=2, job=f'on_unfinished = "{policy}"', hours="22:00-22:20", upload_s=15.0
    )
    good, bad = almanac.ids
    almanac.sizes = {good: 10, bad: 100_000}
    nights = days_from(date(year, 7, 1), 3)
    assert [almanac.start_at(night, 22) for night in nights] == [3, 3, 3]
    assert exports_of(almanac, good, nights) == [1, 1, 1]
    assert exports_of(almanac, bad, nights) == [0, 0, 0]


@pytest.mark.parametrize(("policy", "year"), [("resume", 2037), ("abandon", 2038)])
def test_an_export_that_never_ends_keeps_no_later_night_from_beginning(
    tmp_path: Path, policy: OnUnfinished, year: Any
) -> None:
    almanac = Almanac(
        tmp_path, volumes=2, job=f'on_unfinished = "{policy}"', hours="22:00-22:20", upload_s=15.0
    )
    good, bad = almanac.ids
    nights = days_from(date(year, 8, 1), 3)
    almanac.never_ends(bad)
    for night in nights:
        almanac.start_at(night, 22)
    assert exports_of(almanac, good, nights) == [1, 1, 1]
    assert len(almanac.states()) == 3


def test_what_was_under_way_is_noted_by_a_later_night(tmp_path: Path) -> None:
    """Also that of nights before the last one, whose exports nobody watched to their end."""
    almanac = Almanac(tmp_path, volumes=2, hours="22:00-22:20", upload_s=15.0)
    first = days_from(date(2039, 9, 1), 4)
    almanac.never_ends(almanac.ids[1])
    for night in first[:3]:
        almanac.start_at(night, 22)
    almanac.ends_now(almanac.ids[1])
    almanac.start_at(first[3], 22)
    found = list(almanac.states().values())
    assert found[0] == found[3] == {"succeeded": 2}
    assert not any({"submitting", "exporting"} & set(states) for states in found)


def test_what_was_found_later_by_its_name_was_not_exported_tonight(tmp_path: Path) -> None:
    """It is accepted when it is found, and its export began the night before."""
    almanac = Almanac(tmp_path, volumes=2, upload_s=15.0)
    first, second = days_from(date(2040, 10, 1), 2)
    almanac.cloud.faults[almanac.ids[0]] = ["lost"]
    assert almanac.start_at(first, 22, killed_after=1) == KILLED
    assert almanac.start_at(second, 22) == 0
    assert exports_of(almanac, almanac.ids[0], [first, second]) == [1, 1]
