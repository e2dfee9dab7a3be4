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
#: A server that no list shows for so long is gone: one list may miss it.
GONE_AFTER_S = 60.0
#: A server that does not start for so long needs a person.
STUCK_AFTER_S = 3600.0


class Fit(StrEnum):
    """Whether a server can be stopped for an export."""

    RUNNING = "running"  #: it can
    OFF = "off"  #: it is down already, and not by us
    PASSING = "passing"  #: perhaps later
    UNFIT = "unfit"  #: it can not: what its disks hold is not what they would hold after a shutdown


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
    seen_down: bool = True  #: since it was asked to stop


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What comes of a group of rows whose servers were looked at."""

    stop: tuple[Server, ...] = ()
    off: frozenset[str] = frozenset()  #: server ids: down already, and not ours to start
    failed: Mapping[int, Ending] = msgspec.field(default_factory=dict)  #: by job id
    passing: frozenset[str] = frozenset()  #: server ids: not empty = the group is to wait for these


def fit_of(server: Server | None) -> Fit:
    """Whether a server can be stopped for an export; None where the cloud knows none of this id."""
    if server is None:
        return Fit.UNFIT
    if server.status in PASSING or (server.task and server.status in ("active", "shutoff")):
        return Fit.PASSING
    return {"active": Fit.RUNNING, "shutoff": Fit.OFF}.get(server.status, Fit.UNFIT)


def choose(
    rows: Sequence[LinkedRow],
    found: Mapping[str, Server],
    *,
    afoot: Collection[str],
    tired_of: Collection[str],
) -> Chosen:
    """Which servers to stop for these rows, which hang together.

    Servers `afoot` are seen to already; of those in `tired_of` nobody expects any more that they pass. A
    server that only failing rows need is left alone, and while one is passing none is stopped: it would be
    down for nothing.
    """
    fits = {
        server_id: _or_unfit(fit_of(found.get(server_id)), tired=server_id in tired_of)
        for row in rows
        for server_id in row.server_ids
        if server_id not in afoot
    }
    failed: dict[int, Ending] = {}
    needed: dict[str, Fit] = {}
    for row in rows:
        unfit = [server_id for server_id in row.server_ids if fits.get(server_id) is Fit.UNFIT]
        if unfit or not row.server_ids:
            failed[row.job.job_id] = _why_not(unfit, found)
        else:
            needed |= {server_id: fits[server_id] for server_id in row.server_ids if server_id in fits}
    if passing := frozenset(server_id for server_id, fit in needed.items() if fit is Fit.PASSING):
        return Chosen(failed=failed, passing=passing)
    running = [server_id for server_id, fit in needed.items() if fit is Fit.RUNNING]
    off = frozenset(server_id for server_id, fit in needed.items() if fit is Fit.OFF)
    return Chosen(stop=tuple(found[server_id] for server_id in running), off=off, failed=failed)


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
    if sight.server is None:
        return Move.NOTE_GONE if sight.same_s >= GONE_AFTER_S else Move.WAIT
    match server.state:
        case ServerState.STOPPING:
            return _while_stopping(sight.server, sight, stop_timeout_s)
        case ServerState.DOWN:
            return _while_down(sight.server, sight)
        case _:
            return _while_starting(sight.server, sight)


def _while_stopping(server: Server, sight: Sight, stop_timeout_s: float) -> Move:
    fit = fit_of(server)
    if not sight.wanted:
        return Move.BRING_UP
    if fit is Fit.OFF:
        return Move.NOTE_DOWN
    if fit is Fit.UNFIT or sight.in_state_s >= stop_timeout_s:
        return Move.GIVE_UP
    return Move.ASK_TO_STOP if fit is Fit.RUNNING and sight.may_ask else Move.WAIT


def _while_down(server: Server, sight: Sight) -> Move:
    if fit_of(server) is Fit.RUNNING:
        return Move.NOTE_STARTED if sight.wanted else Move.NOTE_UP
    return Move.WAIT if sight.wanted else Move.BRING_UP


def _while_starting(server: Server, sight: Sight) -> Move:
    if fit_of(server) is Fit.RUNNING:
        calm_s = min(sight.same_s, sight.in_state_s)
        return Move.NOTE_UP if sight.seen_down or calm_s >= CALM_S else Move.WAIT
    if sight.in_state_s >= STUCK_AFTER_S:
        return Move.STUCK
    return Move.ASK_TO_START if sight.may_ask and server.task is None else Move.WAIT


def _or_unfit(fit: Fit, *, tired: bool) -> Fit:
    return Fit.UNFIT if fit is Fit.PASSING and tired else fit


def _why_not(unfit: Sequence[str], found: Mapping[str, Server]) -> Ending:
    if not unfit:
        reason = "not sent: the volume is in use, and the cloud does not tell by which server"
        return Ending(reason=reason, code="in_use")
    server = found.get(unfit[0])
    if server is None:
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
