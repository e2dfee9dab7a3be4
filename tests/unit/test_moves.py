"""What is decided about a server by what is seen of it."""

from typing import Any

import pytest

from batchexport.engine.servers.moves import (
    CALM_S,
    GONE_AFTER_S,
    STUCK_AFTER_S,
    UP_AFTER_S,
    Fit,
    Move,
    Sight,
    choose,
    fit_of,
    is_room,
    move,
)
from batchexport.model import NO_OPTIONS, Ending, Job, JobState, Server, ServerState
from batchexport.store import AfootServer, LinkedRow


def server(status: str, task: str | None = None, server_id: str = "a") -> Server:
    return Server(server_id=server_id, status=status, task=task)


GONE = Server(server_id="a", status="", exists=False)


def row(job_id: int, *server_ids: str) -> LinkedRow:
    job = Job(job_id=job_id, volume_id=f"v{job_id}", image_name="n", options=NO_OPTIONS)
    return LinkedRow(job=job, state=JobState.PENDING, held=True, server_ids=server_ids)


@pytest.mark.parametrize(
    ("seen", "fit"),
    [
        (server("active"), Fit.RUNNING),
        (server("shutoff"), Fit.OFF),
        (server("active", "powering-off"), Fit.PASSING),
        (server("shutoff", "powering-on"), Fit.PASSING),
        (server("reboot"), Fit.PASSING),
        (server("paused"), Fit.UNFIT),
        (server("error"), Fit.UNFIT),
        (server("a word nobody knows"), Fit.UNFIT),
        (GONE, Fit.MISSING),
        (None, Fit.UNSEEN),
    ],
)
def test_a_server_fits_by_its_status_and_what_is_under_way(seen: Server | None, fit: Fit) -> None:
    assert fit_of(seen) is fit


STOPPING, DOWN, STARTING = ServerState.STOPPING, ServerState.DOWN, ServerState.STARTING
ACTIVE, OFF = server("active"), server("shutoff")


@pytest.mark.parametrize(
    ("state", "seen", "sight", "expected"),
    [
        (STOPPING, ACTIVE, {}, Move.ASK_TO_STOP),
        (STOPPING, ACTIVE, {"may_ask": False}, Move.WAIT),
        (STOPPING, server("active", "powering-off"), {}, Move.WAIT),
        (STOPPING, OFF, {}, Move.NOTE_DOWN),
        (STOPPING, OFF, {"wanted": False}, Move.BRING_UP),
        (STOPPING, ACTIVE, {"wanted": False}, Move.BRING_UP),
        (STOPPING, server("active", "powering-off"), {"in_state_s": 900.0}, Move.GIVE_UP),
        (STOPPING, server("error"), {}, Move.GIVE_UP),
        (DOWN, OFF, {}, Move.WAIT),
        (DOWN, OFF, {"wanted": False}, Move.BRING_UP),
        (DOWN, ACTIVE, {"is_newer": True}, Move.NOTE_STARTED),
        (DOWN, ACTIVE, {"is_newer": True, "wanted": False}, Move.NOTE_UP),
        # A replica or a cache may still tell how it was before.
        (DOWN, ACTIVE, {}, Move.WAIT),
        (DOWN, ACTIVE, {"wanted": False}, Move.BRING_UP),
        (DOWN, ACTIVE, {"same_s": UP_AFTER_S - 1}, Move.WAIT),
        (DOWN, ACTIVE, {"same_s": UP_AFTER_S}, Move.NOTE_STARTED),
        (DOWN, ACTIVE, {"same_s": UP_AFTER_S, "wanted": False}, Move.NOTE_UP),
        (STARTING, OFF, {}, Move.ASK_TO_START),
        (STARTING, OFF, {"may_ask": False}, Move.WAIT),
        (STARTING, server("shutoff", "powering-on"), {}, Move.WAIT),
        (STARTING, ACTIVE, {"is_newer": True}, Move.NOTE_UP),
        (STARTING, ACTIVE, {}, Move.WAIT),
        (STARTING, ACTIVE, {"same_s": UP_AFTER_S}, Move.WAIT),
        (STARTING, ACTIVE, {"in_state_s": UP_AFTER_S}, Move.WAIT),
        (STARTING, ACTIVE, {"same_s": UP_AFTER_S, "in_state_s": UP_AFTER_S}, Move.NOTE_UP),
        (STARTING, OFF, {"in_state_s": STUCK_AFTER_S}, Move.STUCK),
        # A stop that was asked for may still be obeyed: running is not yet up.
        (STARTING, server("active", "powering-off"), {"seen_down": False}, Move.WAIT),
        (STARTING, ACTIVE, {"seen_down": False}, Move.WAIT),
        (STARTING, ACTIVE, {"seen_down": False, "same_s": CALM_S}, Move.WAIT),
        (STARTING, ACTIVE, {"seen_down": False, "is_newer": True}, Move.WAIT),
        (STARTING, ACTIVE, {"seen_down": False, "same_s": CALM_S, "in_state_s": CALM_S}, Move.NOTE_UP),
        # Seen running at first sight: whoever started it did so before this process began.
        (DOWN, ACTIVE, {"left_down": True}, Move.WAIT),
        (DOWN, ACTIVE, {"left_down": True, "same_s": UP_AFTER_S}, Move.NOTE_UP),
        # That there is none is believed when it was answered twice, apart in time.
        (DOWN, GONE, {}, Move.WAIT),
        (STARTING, GONE, {"missing_s": GONE_AFTER_S - 1}, Move.WAIT),
        (STARTING, GONE, {"missing_s": GONE_AFTER_S}, Move.NOTE_GONE),
        # That nothing is known of one proves nothing, however long.
        (DOWN, None, {"same_s": 1e6}, Move.WAIT),
        (DOWN, None, {"wanted": False}, Move.BRING_UP),
        (STOPPING, None, {}, Move.WAIT),
        (STOPPING, None, {"in_state_s": 900.0}, Move.GIVE_UP),
        (STARTING, None, {"same_s": GONE_AFTER_S}, Move.ASK_TO_START),
        (STARTING, None, {"in_state_s": STUCK_AFTER_S}, Move.STUCK),
    ],
)
def test_the_next_move_follows_from_state_and_sight(
    state: ServerState, seen: Server | None, sight: dict[str, float], expected: Move
) -> None:
    afoot = AfootServer(server_id="a", name=None, state=state, stopping_at=0.0)
    facts: dict[str, Any] = {"server": seen, "wanted": True, "may_ask": True, **sight}
    whole = Sight(**facts)
    assert move(afoot, whole, stop_timeout_s=900.0) is expected


def test_a_server_that_only_failing_rows_need_is_left_alone() -> None:
    found = {"a": server("active"), "b": server("paused", server_id="b")}
    chosen = choose([row(1, "a", "b"), row(2, "b")], found, afoot=(), tired_of=())
    assert chosen.stop == ()
    assert set(chosen.failed) == {1, 2}


def test_while_one_server_is_passing_none_is_stopped() -> None:
    found = {"a": server("active"), "b": server("reboot", server_id="b")}
    rows = [row(1, "a", "b"), row(2, "a")]
    assert choose(rows, found, afoot=(), tired_of=()).passing == {"b"}
    tired = choose(rows, found, afoot=(), tired_of={"b"})
    assert [each.server_id for each in tired.stop] == ["a"]
    assert "reboot" in tired.failed[1].reason


def test_servers_that_are_seen_to_already_are_not_chosen_again() -> None:
    chosen = choose([row(1, "a", "b")], {"b": server("shutoff", server_id="b")}, afoot={"a"}, tired_of=())
    assert (chosen.stop, chosen.off, dict(chosen.failed)) == ((), frozenset("b"), {})


def test_a_volume_whose_servers_are_not_told_fails() -> None:
    assert choose([row(1)], {}, afoot=(), tired_of=()).failed[1].code == "in_use"


@pytest.mark.parametrize(("found", "code"), [({"a": GONE}, "server_not_found"), ({}, "server_unseen")])
def test_a_volume_whose_server_cannot_be_found_waits_for_it_until_one_is_tired(
    found: dict[str, Server], code: str
) -> None:
    assert choose([row(1, "a")], found, afoot=(), tired_of=()).passing == {"a"}
    assert choose([row(1, "a")], found, afoot=(), tired_of={"a"}).failed[1].code == code


def test_a_server_that_another_run_has_stopped_is_waited_for_or_fails_its_rows() -> None:
    rows, found = [row(1, "a"), row(2, "b")], {"a": OFF, "b": server("shutoff", server_id="b")}
    assert choose(rows, found, afoot=(), tired_of=(), waiting={"a"}).passing == {"a"}
    lost = Ending(reason="stopped by another run", code="server_down_elsewhere")
    chosen = choose(rows, found, afoot=(), tired_of=(), lost={"a": lost})
    assert (dict(chosen.failed), chosen.off) == ({1: lost}, frozenset("b"))


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
    found = is_room(servers, rows, servers_down=down, rows_down=rows_down, max_down=10, max_exports=40)
    assert found is room
