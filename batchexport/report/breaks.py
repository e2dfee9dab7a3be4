"""Times in which nobody worked on a run that was not done: it was stopped, or its process died. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from batchexport.store import Holder, Session
from batchexport.store.lease import LEASE_S

#: Leaving and taking again within a second is one piece of work.
_LEAST_S = 1.0


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """From the end of one process to the beginning of the next."""

    stopped_at: float
    resumed_at: float | None  #: None = nobody has gone on yet
    was_lost: bool  #: the process ended without a word: killed, or its machine went down


def breaks_in(sessions: Sequence[Session], holders: Sequence[Holder], *, unfinished: bool) -> list[Break]:
    """The breaks between these sessions, and the one since the last, if the run is unfinished."""
    found: list[Break] = []
    last: Break | None = None
    for session in sessions:
        ended_at, was_lost = _end_of(session, holders)
        if last is not None and session.began_at > last.stopped_at + _LEAST_S:
            found.append(replace(last, resumed_at=session.began_at))
        if last is None or ended_at > last.stopped_at:
            last = Break(stopped_at=ended_at, resumed_at=None, was_lost=was_lost)
    if last is not None and unfinished and last.stopped_at < math.inf:
        found.append(last)
    return found


def words_on_break(each: Break, clock: Callable[[float], str]) -> str:
    """When the work stopped, how, and when somebody went on; `clock` puts an instant into words."""
    how = "ended without a word about" if each.was_lost else "stopped"
    then = "not carried on" if each.resumed_at is None else f"carried on {clock(each.resumed_at)}"
    return f"{how} {clock(each.stopped_at)}, {then}"


def _end_of(session: Session, holders: Sequence[Holder]) -> tuple[float, bool]:
    """When the session ended, and whether without a word; never, as far as can be told, for one at work."""
    if session.ended_at is not None:
        return session.ended_at, session.was_lost
    dead = [holder.lease_until - LEASE_S for holder in holders if holder.alive is False]
    return (max(session.began_at, *dead), True) if dead else (math.inf, False)
