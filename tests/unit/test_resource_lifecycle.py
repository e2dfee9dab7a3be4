"""What is decided about a resource by what is seen of it, and of which servers to stop."""

from typing import Any

import pytest

from batchexport.engine.resources.control_loop import has_room
from batchexport.engine.resources.lifecycle import (
    Action,
    Condition,
    Limits,
    Observation,
    Seen,
    next_action,
)
from batchexport.engine.steps.server_eligibility import condition_of, seen_of, select
from batchexport.engine.steps.stop_server import (
    GONE_AFTER_S,
    LAG_S,
    STABLE_FOR_S,
    STUCK_AFTER_S,
    UP_AFTER_S,
    may_go_down,
)
from batchexport.model import NO_OPTIONS, Ending, Job, JobState, ResourceState, Server
from batchexport.store import JobWithResources

LIMITS = Limits(
    acquire_s=900.0,
    absent_s=GONE_AFTER_S,
    free_s=UP_AFTER_S,
    stable_s=STABLE_FOR_S,
    lag_s=LAG_S,
    stuck_s=STUCK_AFTER_S,
)


def server(status: str, task: str | None = None, server_id: str = "a") -> Server:
    return Server(server_id=server_id, status=status, task=task)


GONE = Server(server_id="a", status="", exists=False)


def row(job_id: int, *server_ids: str) -> JobWithResources:
    job = Job(job_id=job_id, volume_id=f"v{job_id}", image_name="n", options=NO_OPTIONS)
    return JobWithResources(job=job, state=JobState.PENDING, held=True, needs=server_ids)


def running_since(seconds: float, *, after_off_s: float) -> dict[str, float]:
    return {"in_state_s": seconds, "unchanged_s": seconds, "since_held_s": after_off_s}


@pytest.mark.parametrize(
    ("seen", "condition"),
    [
        (server("active"), Condition.FREE),
        (server("shutoff"), Condition.HELD),
        (server("active", "powering-off"), Condition.CHANGING),
        (server("shutoff", "powering-on"), Condition.CHANGING),
        (server("reboot"), Condition.CHANGING),
        (server("paused"), Condition.UNUSABLE),
        (server("error"), Condition.UNUSABLE),
        (server("a word nobody knows"), Condition.UNUSABLE),
        (GONE, Condition.ABSENT),
        (None, Condition.UNKNOWN),
    ],
)
def test_the_condition_of_a_server_follows_from_its_status_and_task(
    seen: Server | None, condition: Condition
) -> None:
    assert condition_of(seen) is condition


ACQUIRING, HELD, RELEASING = ResourceState.ACQUIRING, ResourceState.HELD, ResourceState.RELEASING
ACTIVE, OFF = server("active"), server("shutoff")


@pytest.mark.parametrize(
    ("state", "seen", "observed", "expected"),
    [
        (ACQUIRING, ACTIVE, {}, Action.ACQUIRE),
        (ACQUIRING, ACTIVE, {"may_ask": False}, Action.WAIT),
        (ACQUIRING, server("active", "powering-off"), {}, Action.WAIT),
        (ACQUIRING, OFF, {}, Action.NOTE_HELD),
        (ACQUIRING, OFF, {"is_needed": False}, Action.RELEASE),
        (ACQUIRING, ACTIVE, {"is_needed": False}, Action.RELEASE),
        (ACQUIRING, server("active", "powering-off"), {"in_state_s": 900.0}, Action.GIVE_UP),
        (ACQUIRING, server("error"), {}, Action.GIVE_UP),
        (HELD, OFF, {}, Action.WAIT),
        (HELD, OFF, {"is_needed": False}, Action.RELEASE),
        (HELD, ACTIVE, {"is_newer": True}, Action.NOTE_TAKEN_BACK),
        (HELD, ACTIVE, {"is_newer": True, "is_needed": False}, Action.NOTE_RELEASED),
        # A replica or a cache may still tell how it was before.
        (HELD, ACTIVE, {}, Action.WAIT),
        (HELD, ACTIVE, {"is_needed": False}, Action.RELEASE),
        (HELD, ACTIVE, {"unchanged_s": UP_AFTER_S - 1}, Action.WAIT),
        (HELD, ACTIVE, {"unchanged_s": UP_AFTER_S}, Action.NOTE_TAKEN_BACK),
        (HELD, ACTIVE, {"unchanged_s": UP_AFTER_S, "is_needed": False}, Action.NOTE_RELEASED),
        (RELEASING, OFF, {}, Action.RELEASE_AGAIN),
        (RELEASING, OFF, {"may_ask": False}, Action.WAIT),
        (RELEASING, server("shutoff", "powering-on"), {}, Action.WAIT),
        (RELEASING, ACTIVE, {"is_newer": True}, Action.NOTE_RELEASED),
        (RELEASING, ACTIVE, {}, Action.WAIT),
        (RELEASING, ACTIVE, {"unchanged_s": UP_AFTER_S}, Action.WAIT),
        (RELEASING, ACTIVE, {"in_state_s": UP_AFTER_S}, Action.WAIT),
        (RELEASING, ACTIVE, {"unchanged_s": UP_AFTER_S, "in_state_s": UP_AFTER_S}, Action.NOTE_RELEASED),
        # Nobody who is behind by no more than others ever were can still tell of the time before it was off.
        (RELEASING, ACTIVE, running_since(LAG_S / 2, after_off_s=LAG_S), Action.NOTE_RELEASED),
        (RELEASING, ACTIVE, running_since(LAG_S / 2 - 1, after_off_s=LAG_S), Action.WAIT),
        (RELEASING, ACTIVE, running_since(LAG_S / 2, after_off_s=LAG_S - 1), Action.WAIT),
        (RELEASING, ACTIVE, {"since_held_s": LAG_S, "unchanged_s": LAG_S}, Action.WAIT),
        (RELEASING, ACTIVE, {**running_since(LAG_S, after_off_s=LAG_S), "seen_held": False}, Action.WAIT),
        (HELD, ACTIVE, running_since(LAG_S, after_off_s=LAG_S), Action.WAIT),
        (RELEASING, OFF, {"in_state_s": STUCK_AFTER_S}, Action.STUCK),
        # A stop that was asked for may still be obeyed: running is not yet up.
        (RELEASING, server("active", "powering-off"), {"seen_held": False}, Action.WAIT),
        (RELEASING, ACTIVE, {"seen_held": False}, Action.WAIT),
        (RELEASING, ACTIVE, {"seen_held": False, "unchanged_s": STABLE_FOR_S}, Action.WAIT),
        (RELEASING, ACTIVE, {"seen_held": False, "is_newer": True}, Action.WAIT),
        (
            RELEASING,
            ACTIVE,
            {"seen_held": False, "unchanged_s": STABLE_FOR_S, "in_state_s": STABLE_FOR_S},
            Action.NOTE_RELEASED,
        ),
        # Seen running at first sight: whoever started it did so before this process began.
        (HELD, ACTIVE, {"is_inherited": True}, Action.WAIT),
        (HELD, ACTIVE, {"is_inherited": True, "unchanged_s": UP_AFTER_S}, Action.NOTE_RELEASED),
        # That there is none is believed when it was answered twice, apart in time.
        (HELD, GONE, {}, Action.WAIT),
        (RELEASING, GONE, {"absent_s": GONE_AFTER_S - 1}, Action.WAIT),
        (RELEASING, GONE, {"absent_s": GONE_AFTER_S}, Action.NOTE_LOST),
        # That nothing is known of one proves nothing, however long.
        (HELD, None, {"unchanged_s": 1e6}, Action.WAIT),
        (HELD, None, {"is_needed": False}, Action.RELEASE),
        (ACQUIRING, None, {}, Action.WAIT),
        (ACQUIRING, None, {"in_state_s": 900.0}, Action.GIVE_UP),
        (RELEASING, None, {"unchanged_s": GONE_AFTER_S}, Action.RELEASE_AGAIN),
        (RELEASING, None, {"in_state_s": STUCK_AFTER_S}, Action.STUCK),
    ],
)
def test_the_next_action_follows_from_state_and_observation(
    state: ResourceState, seen: Server | None, observed: dict[str, float], expected: Action
) -> None:
    facts: dict[str, Any] = {"seen": seen_of(seen), "is_needed": True, "may_ask": True, **observed}
    assert next_action(state, Observation(**facts), LIMITS) is expected


def test_a_server_that_only_failing_rows_need_is_left_alone() -> None:
    found = {"a": server("active"), "b": server("paused", server_id="b")}
    selection = select([row(1, "a", "b"), row(2, "b")], found, outstanding=(), timed_out=())
    assert selection.acquire == ()
    assert set(selection.failed) == {1, 2}


def test_while_one_server_is_changing_none_is_stopped() -> None:
    found = {"a": server("active"), "b": server("reboot", server_id="b")}
    rows = [row(1, "a", "b"), row(2, "a")]
    assert select(rows, found, outstanding=(), timed_out=()).changing == {"b"}
    late = select(rows, found, outstanding=(), timed_out={"b"})
    assert [each.resource_id for each in late.acquire] == ["a"]
    assert "reboot" in late.failed[1].reason


def test_servers_that_are_seen_to_already_are_not_selection_again() -> None:
    selection = select(
        [row(1, "a", "b")], {"b": server("shutoff", server_id="b")}, outstanding={"a"}, timed_out=()
    )
    assert (selection.acquire, selection.held, dict(selection.failed)) == ((), frozenset("b"), {})


def test_a_volume_whose_servers_are_not_told_fails() -> None:
    assert select([row(1)], {}, outstanding=(), timed_out=()).failed[1].code == "in_use"


@pytest.mark.parametrize(("found", "code"), [({"a": GONE}, "server_not_found"), ({}, "server_unseen")])
def test_a_volume_whose_server_cannot_be_found_waits_for_it_until_that_timed_out(
    found: dict[str, Server], code: str
) -> None:
    assert select([row(1, "a")], found, outstanding=(), timed_out=()).changing == {"a"}
    assert select([row(1, "a")], found, outstanding=(), timed_out={"a"}).failed[1].code == code


def test_a_server_that_another_run_has_stopped_is_waited_for_or_fails_its_rows() -> None:
    rows, found = [row(1, "a"), row(2, "b")], {"a": OFF, "b": server("shutoff", server_id="b")}
    assert select(rows, found, outstanding=(), timed_out=(), waiting={"a"}).changing == {"a"}
    lost = Ending(reason="stopped by another run", code="server_down_elsewhere")
    selection = select(rows, found, outstanding=(), timed_out=(), lost={"a": lost})
    assert (dict(selection.failed), selection.held) == ({1: lost}, frozenset("b"))


@pytest.mark.parametrize(
    ("servers", "rows", "down", "rows_down", "room"),
    [
        (99, 99, 0, 0, True),  # nothing is down: a large group goes alone
        (1, 1, 9, 9, True),
        (2, 1, 9, 9, False),
        (1, 32, 1, 9, False),
    ],
)
def test_room_is_for_servers_and_for_their_exports(
    servers: int, rows: int, down: int, rows_down: int, room: bool
) -> None:
    found = has_room(rows, outstanding=down, busy=rows_down, max_exports=40) and may_go_down(
        servers, down=down, max_down=10
    )
    assert found is room


CREATED = Limits(
    acquire_s=900.0, absent_s=60.0, free_s=30.0, stable_s=90.0, lag_s=20.0, stuck_s=3600.0, is_created=True
)


@pytest.mark.parametrize(
    ("state", "observed", "expected"),
    [
        # That it is absent is how it was before, and how it is to be again: once that is certain.
        (ACQUIRING, {"absent_s": 59.0}, Action.WAIT),
        (ACQUIRING, {"absent_s": 60.0}, Action.ACQUIRE),
        (ACQUIRING, {"absent_s": 60.0, "may_ask": False}, Action.WAIT),
        (ACQUIRING, {"absent_s": 60.0, "is_needed": False}, Action.RELEASE),
        (HELD, {"absent_s": 59.0}, Action.WAIT),
        (HELD, {"absent_s": 60.0}, Action.NOTE_TAKEN_BACK),
        (HELD, {"absent_s": 60.0, "is_needed": False}, Action.NOTE_RELEASED),
        (RELEASING, {"absent_s": 59.0}, Action.WAIT),
        (RELEASING, {"absent_s": 60.0}, Action.NOTE_RELEASED),
        # A request whose answer was lost may still create it.
        (RELEASING, {"absent_s": 60.0, "seen_held": False}, Action.WAIT),
        (
            RELEASING,
            {"absent_s": 90.0, "seen_held": False, "unchanged_s": 90.0, "in_state_s": 90.0},
            Action.NOTE_RELEASED,
        ),
    ],
)
def test_what_is_created_is_free_when_it_is_absent(
    state: ResourceState, observed: dict[str, Any], expected: Action
) -> None:
    facts: dict[str, Any] = {"seen": seen_of(GONE), "is_needed": True, "may_ask": True, **observed}
    assert next_action(state, Observation(**facts), CREATED) is expected


@pytest.mark.parametrize(
    ("state", "seen", "expected"),
    [
        (HELD, Seen(Condition.FREE), Action.WAIT),
        (HELD, Seen(Condition.FREE, is_certain=True), Action.NOTE_TAKEN_BACK),
        (RELEASING, Seen(Condition.FREE), Action.WAIT),
        (RELEASING, Seen(Condition.FREE, is_certain=True), Action.NOTE_RELEASED),
        (RELEASING, Seen(Condition.HELD), Action.RELEASE_AGAIN),
        (RELEASING, Seen(Condition.HELD, is_stuck=True), Action.STUCK),
    ],
)
def test_what_a_kind_is_certain_of_needs_no_time(state: ResourceState, seen: Seen, expected: Action) -> None:
    """That nothing was ever requested, or that the cloud cannot release it as it is."""
    assert next_action(state, Observation(seen=seen, is_needed=True, may_ask=True), CREATED) is expected
