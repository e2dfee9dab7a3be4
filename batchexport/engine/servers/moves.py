"""What to do about a server next, by what is seen of it. Plain functions on plain values, as `decide`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

import msgspec

from batchexport.model import Ending, Server, ServerState
from batchexport.store import AfootServer, LinkedRow

#: Statuses that pass by themselves.
PASSING = frozenset(
    {"build", "hard_reboot", "migrating", "password", "reboot", "rebuild", "resize", "revert_resize"}
)
#: A server that was asked to stop and not seen down may still obey: it counts as up when it ran for so long
#: since it was given up. A guest that is asked to shut down is given a minute by default.
CALM_S = 90.0
#: A server that was down and is seen running may be seen so by a replica that lags or by a cache. Unless its
#: record is newer than its downtime, it counts as up when every look saw it running for so long.
UP_AFTER_S = 30.0
#: A server is gone when the compute service answered so for so long, asked for it by its id; lists miss some.
GONE_AFTER_S = 60.0
#: A server that does not start for so long needs a person.
STUCK_AFTER_S = 3600.0


class Fit(StrEnum):
    """Whether a server can be stopped for an export."""

    RUNNING = "running"  #: it can
    OFF = "off"  #: it is down already, and not by us
    PASSING = "passing"  #: perhaps later
    UNFIT = "unfit"  #: it can not: what its disks hold is not what they would hold after a shutdown
    MISSING = "missing"  #: the compute service says that there is none
    UNSEEN = "unseen"  #: nothing is known of it now


class Move(StrEnum):
    """What to do about a server that is not up."""

    WAIT = "wait"
    ASK_TO_STOP = "ask to stop"
    NOTE_DOWN = "note down"
    GIVE_UP = "give up"  #: it does not stop: its rows fail, and it is brought up again
    BRING_UP = "bring up"  #: nothing needs it down any more
    ASK_TO_START = "ask to start"
    NOTE_UP = "note up"
    NOTE_STARTED = "note started"  #: by somebody else, while its volumes were still to be exported
    NOTE_GONE = "note gone"
    STUCK = "stuck"  #: it does not start, and a person must see to it


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What a look saw of one server, and for how long it has been so."""

    server: Server | None
    wanted: bool  #: it must be down for a row that is under way, or may go
    may_ask: bool  #: it was not asked a moment ago
    in_state_s: float = 0.0
    same_s: float = 0.0  #: since when it is seen as it is now
    missing_s: float = 0.0  #: since when there is none, as far as was answered
    seen_down: bool = True  #: since it was asked to stop
    is_newer: bool = False  #: it runs, by a record that is newer than those from before it was down
    left_down: bool = False  #: an earlier process left it down, and this one never saw it so


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What comes of a group of rows whose servers were looked at."""

    stop: tuple[Server, ...] = ()
    off: frozenset[str] = frozenset()  #: server ids: down already, and not ours to start
    failed: Mapping[int, Ending] = msgspec.field(default_factory=dict)  #: by job id
    passing: frozenset[str] = frozenset()  #: server ids: not empty = the group is to wait for these


def fit_of(server: Server | None) -> Fit:
    """Whether a server can be stopped for an export; None where nothing is known of it."""
    if server is None:
        return Fit.UNSEEN
    if not server.exists:
        return Fit.MISSING
    if server.status in PASSING or (server.task and server.status in ("active", "shutoff")):
        return Fit.PASSING
    return {"active": Fit.RUNNING, "shutoff": Fit.OFF}.get(server.status, Fit.UNFIT)


def choose(
    rows: Sequence[LinkedRow],
    found: Mapping[str, Server],
    *,
    afoot: Collection[str],
    tired_of: Collection[str],
    waiting: Collection[str] = (),
    lost: Mapping[str, Ending] | None = None,
) -> Chosen:
    """Which servers to stop for these rows, which hang together.

    Servers `afoot` are seen to already; of those in `tired_of` nobody expects any more that they pass, or
    appear. A server that only failing rows need is left alone, and while one is passing none is stopped: it
    would be down for nothing. Servers that other runs have stopped are `waiting` to be started by these, or
    `lost`, which ends their rows.
    """
    lost = lost or {}
    fits = {
        server_id: _in_time(fit_of(found.get(server_id)), tired=server_id in tired_of)
        for row in rows
        for server_id in row.server_ids
        if server_id not in afoot
    }
    fits |= dict.fromkeys(fits.keys() & waiting, Fit.PASSING) | dict.fromkeys(fits.keys() & lost, Fit.UNFIT)
    failed: dict[int, Ending] = {}
    needed: dict[str, Fit] = {}
    for row in rows:
        unfit = [server_id for server_id in row.server_ids if fits.get(server_id) is Fit.UNFIT]
        if unfit or not row.server_ids:
            failed[row.job.job_id] = _why_not(unfit, found, lost)
        else:
            needed |= {server_id: fits[server_id] for server_id in row.server_ids if server_id in fits}
    if passing := frozenset(server_id for server_id, fit in needed.items() if fit is Fit.PASSING):
        return Chosen(failed=failed, passing=passing)
    running = [server_id for server_id, fit in needed.items() if fit is Fit.RUNNING]
    off = frozenset(server_id for server_id, fit in needed.items() if fit is Fit.OFF)
    return Chosen(stop=tuple(found[server_id] for server_id in running), off=off, failed=failed)


def why_not_stopped(server: Server) -> str | None:
    """Why this server, as it is now, would fail its rows instead of being stopped; None = it would not."""
    if fit_of(server) not in (Fit.MISSING, Fit.UNFIT):
        return None
    return _why_not([server.server_id], {server.server_id: server}, {}).reason.removeprefix("not sent: ")


def is_room(
    servers: int, rows: int, *, servers_down: int, rows_down: int, max_down: int, max_exports: int
) -> bool:
    """Whether so many more servers may go down for so many more rows.

    No more rows than can be exported at once, or their servers would be down waiting. A group that is larger
    than a limit goes when nothing else is down.
    """
    if not servers_down:
        return True
    return servers_down + servers <= max_down and rows_down + rows <= max_exports


def move(server: AfootServer, sight: Sight, *, stop_timeout_s: float) -> Move:
    """What to do about a server that we stopped, or were about to."""
    fit = fit_of(sight.server)
    if fit is Fit.MISSING:
        return Move.NOTE_GONE if sight.missing_s >= GONE_AFTER_S else Move.WAIT
    match server.state:
        case ServerState.STOPPING:
            return _while_stopping(fit, sight, stop_timeout_s)
        case ServerState.DOWN:
            return _while_down(fit, sight)
        case _:
            return _while_starting(fit, sight)


def _while_stopping(fit: Fit, sight: Sight, stop_timeout_s: float) -> Move:
    if not sight.wanted:
        return Move.BRING_UP
    if fit is Fit.OFF:
        return Move.NOTE_DOWN
    if fit is Fit.UNFIT or sight.in_state_s >= stop_timeout_s:
        return Move.GIVE_UP
    return Move.ASK_TO_STOP if fit is Fit.RUNNING and sight.may_ask else Move.WAIT


def _while_down(fit: Fit, sight: Sight) -> Move:
    if fit is Fit.RUNNING and (sight.is_newer or sight.same_s >= UP_AFTER_S):
        return Move.NOTE_STARTED if sight.wanted and not sight.left_down else Move.NOTE_UP
    return Move.WAIT if sight.wanted else Move.BRING_UP


def _while_starting(fit: Fit, sight: Sight) -> Move:
    if fit is Fit.RUNNING:
        calm_s = min(sight.same_s, sight.in_state_s)
        is_up = sight.seen_down and (sight.is_newer or calm_s >= UP_AFTER_S)
        return Move.NOTE_UP if is_up or calm_s >= CALM_S else Move.WAIT
    if sight.in_state_s >= STUCK_AFTER_S:
        return Move.STUCK
    # One that cannot be seen is asked all the same: to start what runs does nothing.
    is_idle = sight.server is None or sight.server.task is None
    return Move.ASK_TO_START if sight.may_ask and is_idle else Move.WAIT


def _in_time(fit: Fit, *, tired: bool) -> Fit:
    """What is not as it should be may be so only for a moment, until one is tired of waiting for that."""
    if fit in (Fit.MISSING, Fit.UNSEEN, Fit.PASSING):
        return Fit.UNFIT if tired else Fit.PASSING
    return fit


def _why_not(unfit: Sequence[str], found: Mapping[str, Server], lost: Mapping[str, Ending]) -> Ending:
    if not unfit:
        reason = "not sent: the volume is in use, and the cloud does not tell by which server"
        return Ending(reason=reason, code="in_use")
    if unfit[0] in lost:
        return lost[unfit[0]]
    server = found.get(unfit[0])
    if server is None:
        reason = f"not sent: the compute service does not tell how server {unfit[0]} of the volume is"
        return Ending(reason=reason, code="server_unseen")
    if not server.exists:
        reason = (
            f"not sent: the volume is attached to server {unfit[0]}, which the compute service does not know"
        )
        return Ending(reason=reason, code="server_not_found")
    task = f" ({server.task})" if server.task else ""
    reason = (
        f"not sent: the volume is attached to server {named(server)}, which is {server.status}{task};"
        " only active ones are stopped"
    )
    return Ending(reason=reason, code="server_status")


def named(server: Server | AfootServer) -> str:
    """The server for people: its id, and its name where it is known."""
    return f"{server.server_id} ({server.name})" if server.name else server.server_id
