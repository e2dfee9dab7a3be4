"""What is remembered of the observations of one resource: since when, and by how new a record."""

from typing import Any

import pytest

from batchexport.engine.resources.lifecycle import Condition, Observation, ObservationLog, Seen
from batchexport.model import ResourceState

ACQUIRING, IS_HELD, RELEASING = ResourceState.ACQUIRING, ResourceState.HELD, ResourceState.RELEASING
FREE, OFF, GONE = Condition.FREE, Condition.HELD, Condition.ABSENT
UNSEEN, CHANGING = Condition.UNKNOWN, Condition.CHANGING


def after(log: ObservationLog, *seen: Any) -> Observation:
    """The last of these observations of `a`: loop time, state, condition, and when its record was updated."""
    found = None
    for loop_now, state, condition, *updated_at in seen:
        look = Seen(condition, condition.value, updated_at=updated_at[0] if updated_at else None)
        found = log.observe("a", state, look, is_needed=True, may_ask=True, loop_now=loop_now)
    assert found is not None
    return found


def times(found: Observation) -> tuple[float, float, float, float]:
    return found.in_state_s, found.unchanged_s, found.absent_s, found.since_held_s


def test_what_is_seen_first_is_so_from_now_on() -> None:
    assert times(after(ObservationLog(), (100.0, ACQUIRING, FREE))) == (0.0, 0.0, 0.0, 0.0)


def test_each_time_begins_with_the_change_that_it_counts_from() -> None:
    log = ObservationLog()
    assert times(after(log, (100.0, ACQUIRING, FREE), (103.0, ACQUIRING, OFF))) == (3.0, 0.0, 0.0, 0.0)
    assert times(after(log, (107.0, IS_HELD, OFF))) == (0.0, 4.0, 0.0, 4.0)
    assert times(after(log, (110.0, RELEASING, FREE), (115.0, RELEASING, FREE))) == (5.0, 5.0, 0.0, 12.0)


def test_a_record_that_is_only_newer_is_seen_unchanged() -> None:
    found = after(ObservationLog(), (100.0, RELEASING, FREE, 7.0), (105.0, RELEASING, FREE, 9.0))
    assert found.unchanged_s == 5.0


def test_absence_is_counted_through_answers_that_say_nothing_and_ended_by_any_that_shows_it() -> None:
    log = ObservationLog()
    silent = after(log, (100.0, IS_HELD, GONE), (104.0, IS_HELD, UNSEEN), (109.0, IS_HELD, GONE))
    assert silent.absent_s == 9.0
    again = after(log, (110.0, IS_HELD, CHANGING), (112.0, IS_HELD, GONE), (115.0, IS_HELD, GONE))
    assert again.absent_s == 3.0


def test_it_was_held_if_it_was_seen_so_or_an_earlier_process_noted_it() -> None:
    assert not after(ObservationLog(), (0.0, ACQUIRING, FREE), (1.0, RELEASING, FREE)).seen_held
    assert after(ObservationLog(), (0.0, ACQUIRING, OFF), (1.0, RELEASING, FREE)).seen_held
    assert after(ObservationLog(), (0.0, IS_HELD, FREE), (1.0, RELEASING, FREE)).seen_held


@pytest.mark.parametrize(
    ("before", "held", "now", "is_newer"),
    [
        (5.0, 8.0, 9.0, True),
        (5.0, 8.0, 8.0, True),  # cut to a second
        (5.0, 8.0, 7.0, False),  # from before it was off: a replica that lags
        (5.0, 8.0, 5.0, False),
        (8.0, 8.0, 8.0, False),
        (None, 8.0, 9.0, False),
        (5.0, None, 9.0, False),
        (5.0, 8.0, None, False),
    ],
)
def test_a_record_is_newer_than_a_downtime_only_by_the_times_of_one_record(
    before: float | None, held: float | None, now: float | None, is_newer: bool
) -> None:
    log = ObservationLog()
    log.acquiring("a", before)
    seen = after(log, (0.0, ACQUIRING, OFF, held), (1.0, RELEASING, FREE, now))
    assert seen.is_newer is is_newer
    # Only one that shows it free says that it is.
    assert not after(log, (2.0, RELEASING, CHANGING, 99.0)).is_newer


def test_the_newest_records_count_in_whatever_order_they_come() -> None:
    log = ObservationLog()
    log.acquiring("a", 3.0)
    free = ((0.0, ACQUIRING, FREE, 5.0), (1.0, ACQUIRING, FREE, 4.0))
    off = ((2.0, ACQUIRING, OFF, 9.0), (3.0, IS_HELD, OFF, 8.0))
    assert not after(log, *free, *off, (4.0, RELEASING, FREE, 8.5)).is_newer
    # What showed it free after it was held is no record from before.
    assert after(log, (5.0, ACQUIRING, FREE, 20.0), (6.0, RELEASING, FREE, 9.5)).is_newer


def test_a_record_that_showed_it_free_before_it_was_held_is_from_before() -> None:
    """The replica that is asked next may be behind the one that showed it held."""
    log = ObservationLog()
    log.acquiring("a", 3.0)
    free = ((0.0, ACQUIRING, FREE, 5.0), (1.0, ACQUIRING, FREE, 4.0))
    assert not after(log, *free, (2.0, ACQUIRING, OFF, 4.5), (3.0, RELEASING, FREE, 5.0)).is_newer


def test_a_record_that_showed_it_free_while_it_was_not_being_acquired_is_not_from_before() -> None:
    assert not after(ObservationLog(), (0.0, IS_HELD, FREE, 5.0), (1.0, IS_HELD, OFF, 6.0)).is_newer
    log = ObservationLog()
    assert not after(log, (0.0, RELEASING, FREE, 5.0), (1.0, RELEASING, OFF, 6.0)).is_newer
    assert not after(log, (2.0, RELEASING, FREE, 7.0)).is_newer


def test_what_an_earlier_process_held_is_inherited_until_it_is_seen_held() -> None:
    log = ObservationLog()
    log.inherit(["a"])
    assert after(log, (0.0, IS_HELD, FREE)).is_inherited
    assert not after(log, (1.0, IS_HELD, OFF)).is_inherited
    assert not after(ObservationLog(), (0.0, IS_HELD, FREE)).is_inherited


def test_what_is_forgotten_or_acquired_anew_begins_anew() -> None:
    for forget in (ObservationLog.forget, lambda log, each: log.acquiring(each, None)):
        log = ObservationLog()
        log.acquiring("a", 1.0)
        after(log, (0.0, ACQUIRING, OFF, 2.0), (1.0, IS_HELD, GONE))
        log.inherit(["a"])
        forget(log, "a")
        assert log.status("a") == "unknown"
        found = after(log, (9.0, RELEASING, GONE, 3.0))
        assert times(found) == (0.0, 0.0, 0.0, 0.0)
        assert (found.seen_held, found.is_inherited) == (False, False)
        assert not after(log, (10.0, RELEASING, FREE, 4.0)).is_newer


def test_a_request_to_create_begins_the_time_of_its_state_and_of_its_absence() -> None:
    log = ObservationLog()
    after(log, (0.0, ACQUIRING, GONE))
    log.requested("a")
    assert times(after(log, (50.0, ACQUIRING, GONE))) == (0.0, 50.0, 0.0, 0.0)


def test_the_status_is_the_clouds_latest_word() -> None:
    log = ObservationLog()
    after(log, (0.0, ACQUIRING, FREE), (1.0, ACQUIRING, CHANGING))
    assert log.status("a") == "changing"
