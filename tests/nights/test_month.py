"""Thirty nights with everything that happens to a job in a month, on either side of a clock change."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchexport.config.schedule import OnUnfinished
from batchexport.scheduling.cron import next_start
from batchexport.scheduling.window import Window
from tests.engine.conftest import volume_ids
from tests.nights.almanac import KILLED, WINDOW_CLOSED, Almanac, autumn, local, now, spring, travel_to


@pytest.mark.parametrize(
    ("nights", "change", "hours"),
    [
        pytest.param(spring(), date(2027, 3, 27), 7, id="spring"),
        pytest.param(autumn(), date(2027, 10, 30), 9, id="autumn"),
    ],
)
def test_a_month_exports_every_volume_once_a_night_whatever_happens(
    tmp_path: Path, nights: Any, change: str, hours: float
) -> None:
    blackout = nights[24]
    almanac = Almanac(tmp_path, max_exports=2, upload_s=15.0, window=f'blackout = ["{blackout}"]')
    killed, failed, late = nights[4], nights[8], nights[20]
    new_list = [*volume_ids(6)[1:]]
    troubled = {killed, failed, late, blackout - timedelta(days=1), blackout}
    for night in nights:
        starts_at = next_start(almanac.order().schedule.schedule, local(night, 12))
        assert starts_at is not None
        travel_to(starts_at)
        if night == nights[12]:
            almanac.listed(new_list)
        if night == failed:
            almanac.cloud.faults[almanac.ids[2]] = ["fatal"]
        if night == late:
            travel_to(local(night + timedelta(days=1), 5, 59))
        code = almanac.start(killed_after=2 if night == killed else None)
        if night == killed:
            assert code == KILLED
            assert almanac.start_at(night + timedelta(days=1), 12) == WINDOW_CLOSED  # the reboot, at noon
        elif night == failed:
            assert code == 6
        elif night in (late, blackout):
            assert code == WINDOW_CLOSED
        else:
            assert code == 0
            assert almanac.start() == 0  # a second timer: nothing more
        exports = almanac.exports_in(night)
        assert max(exports.values(), default=0) <= 1, night
        if night not in troubled:
            assert set(exports) == set(almanac.ids), night
        if night == change:
            opening = almanac.window, night
            assert span_h(*opening) == hours
    assert almanac.exports_outside() == []
    assert almanac.exports_in(late) and len(almanac.exports_in(late)) < len(almanac.ids)
    for name, states in almanac.states().items():
        assert set(states) == {"succeeded"}, name


def span_h(window: Window, night: date) -> float:
    from batchexport.scheduling.window import opening_on

    opening = opening_on(window, night)
    return (opening.closes_at - opening.opens_at) / 3600


def test_what_outlasts_the_window_is_watched_to_the_end_of_the_grace_and_looked_up_next_night(
    tmp_path: Path,
) -> None:
    almanac = Almanac(tmp_path, volumes=2, upload_s=900.0)
    first, second = date(2028, 5, 2), date(2028, 5, 3)
    assert almanac.start_at(second, 5, 50) == WINDOW_CLOSED
    grace_end = local(second, 6, 5)
    assert grace_end <= now() < grace_end + 60
    assert almanac.states() == {f"nightly-{first}.state": {"exporting": 2}}
    assert almanac.start_at(second, 22) == 0
    assert almanac.states()[f"nightly-{first}.state"] == {"succeeded": 2}
    assert almanac.exports_in(second) == dict.fromkeys(almanac.ids, 1)


def test_a_start_in_the_grace_watches_and_begins_nothing(tmp_path: Path) -> None:
    almanac = Almanac(tmp_path, volumes=2, upload_s=700.0)
    first, second = date(2028, 6, 6), date(2028, 6, 7)
    assert almanac.start_at(second, 5, 50, killed_after=2) == KILLED
    assert almanac.start_at(second, 6, 1) == 0
    assert almanac.states() == {f"nightly-{first}.state": {"succeeded": 2}}
    assert almanac.exports_outside() == []


def test_no_night_begins_in_the_grace(tmp_path: Path) -> None:
    almanac = Almanac(tmp_path)
    assert almanac.start_at(date(2028, 6, 14), 6, 2) == WINDOW_CLOSED
    assert almanac.states() == {}


@pytest.mark.parametrize(
    ("policy", "months_list", "later_exports"),
    [("resume", True, {1, 2, 3, 4}), ("skip", False, {3, 4}), ("abandon", True, {1, 2, 3, 4})],
)
def test_what_becomes_of_an_unfinished_night_is_the_jobs_choice(
    tmp_path: Path, policy: OnUnfinished, months_list: Any, later_exports: Any
) -> None:
    almanac = Almanac(tmp_path, volumes=4, max_exports=2, job=f'on_unfinished = "{policy}"')
    year = {"resume": 2029, "skip": 2030, "abandon": 2031}[policy]
    first, second = date(year, 2, 6), date(year, 2, 7)
    assert almanac.start_at(first, 22, killed_after=2) == KILLED
    assert almanac.start_at(second, 22) == 0
    ids = volume_ids(4)
    assert set(almanac.exports_in(second)) == {ids[number - 1] for number in later_exports}
    assert (f"nightly-{second}.state" in almanac.states()) is months_list
    old = almanac.states()[f"nightly-{first}.state"]
    assert ("pending" in old) is (policy == "abandon")
    assert max(almanac.exports_in(second).values()) == 1


def test_only_the_last_nights_are_kept_and_none_with_work_to_do(tmp_path: Path) -> None:
    almanac = Almanac(tmp_path, volumes=1, job="keep = 2")
    nights = [date(2032, 1, day) for day in (5, 6, 7, 8)]
    for night in nights:
        assert almanac.start_at(night, 22) == 0
    assert list(almanac.states()) == [f"nightly-{night}.state" for night in nights[2:]]
