"""Whether servers can be stopped for exports, by what is seen of them. Pure: no clock, no I/O, no await."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from batchexport.engine.resources.book import Candidate
from batchexport.engine.resources.kind import Selection
from batchexport.engine.resources.lifecycle import UNKNOWN, Condition, Seen
from batchexport.model import Ending, Server
from batchexport.store import JobWithResources

#: Statuses that pass by themselves.
TRANSIENT_STATUSES = frozenset(
    {"build", "hard_reboot", "migrating", "password", "reboot", "rebuild", "resize", "revert_resize"}
)


def condition_of(server: Server | None) -> Condition:
    """What a server is for an export; held = off, free = running, unusable = it is not stopped.

    The disks of a server that is paused, suspended or in error do not hold what a shutdown would leave there.
    """
    if server is None:
        return Condition.UNKNOWN
    if not server.exists:
        return Condition.ABSENT
    if server.status in TRANSIENT_STATUSES or (server.task and server.status in ("active", "shutoff")):
        return Condition.CHANGING
    return {"active": Condition.FREE, "shutoff": Condition.HELD}.get(server.status, Condition.UNUSABLE)


def seen_of(server: Server | None) -> Seen:
    """The server as a resource."""
    condition = condition_of(server)
    if server is None or not server.exists:
        return UNKNOWN if server is None else Seen(condition)
    return Seen(condition, _status(server), server.task is not None, server.updated_at)


def is_running(server: Server | None) -> bool:
    """Whether the server is known to run, to be about to, or to have run since it was off."""
    return condition_of(server) not in (Condition.HELD, Condition.ABSENT, Condition.UNKNOWN)


def select(
    rows: Sequence[JobWithResources],
    found: Mapping[str, Server],
    *,
    outstanding: Collection[str],
    timed_out: Collection[str],
    waiting: Collection[str] = (),
    lost: Mapping[str, Ending] | None = None,
) -> Selection:
    """Which servers to stop for these connected jobs.

    Those `outstanding` are seen to already; those `timed_out` are no longer expected to change, or to appear.
    A server that only failing jobs need is left alone, and while one is changing none is stopped: it would be
    down in vain. Servers that other runs have stopped are `waiting` to be started by these, or `lost`, which
    fails their jobs.
    """
    lost = lost or {}
    conditions = {
        server_id: _in_time(condition_of(found.get(server_id)), timed_out=server_id in timed_out)
        for row in rows
        for server_id in row.needs
        if server_id not in outstanding
    }
    conditions |= dict.fromkeys(conditions.keys() & waiting, Condition.CHANGING)
    conditions |= dict.fromkeys(conditions.keys() & lost, Condition.UNUSABLE)
    failed: dict[int, Ending] = {}
    needed: dict[str, Condition] = {}
    for row in rows:
        unusable = [each for each in row.needs if conditions.get(each) is Condition.UNUSABLE]
        if unusable or not row.needs:
            failed[row.job.job_id] = _why_not(unusable, found, lost)
        else:
            needed |= {each: conditions[each] for each in row.needs if each in conditions}
    by_condition = {
        wanted: [each for each, condition in needed.items() if condition is wanted] for wanted in Condition
    }
    if changing := by_condition[Condition.CHANGING]:
        return Selection(failed=failed, changing=frozenset(changing))
    stop = [found[server_id] for server_id in by_condition[Condition.FREE]]
    return Selection(
        acquire=tuple(
            Candidate(server.server_id, server.name, server.status, server.updated_at) for server in stop
        ),
        held=frozenset(by_condition[Condition.HELD]),
        failed=failed,
    )


def why_not_stopped(server: Server) -> str | None:
    """Why this server, as it is now, would fail its jobs instead of being stopped; None = it would not."""
    if condition_of(server) not in (Condition.ABSENT, Condition.UNUSABLE):
        return None
    return _why_not([server.server_id], {server.server_id: server}, {}).reason.removeprefix("not sent: ")


def named(server: Server) -> str:
    """The server for people: its id, and its name where it is known."""
    return f"{server.server_id} ({server.name})" if server.name else server.server_id


def _status(server: Server) -> str:
    return f"{server.status} ({server.task})" if server.task else server.status


def _in_time(condition: Condition, *, timed_out: bool) -> Condition:
    """What is not as it should be may be so only for a moment, until that has timed out."""
    if condition in (Condition.ABSENT, Condition.UNKNOWN, Condition.CHANGING):
        return Condition.UNUSABLE if timed_out else Condition.CHANGING
    return condition


def _why_not(unusable: Sequence[str], found: Mapping[str, Server], lost: Mapping[str, Ending]) -> Ending:
    if not unusable:
        reason = "not sent: the volume is in use, and the cloud does not say by which server"
        return Ending(reason=reason, code="in_use")
    server_id = unusable[0]
    if server_id in lost:
        return lost[server_id]
    server = found.get(server_id)
    if server is None:
        reason = f"not sent: the compute service does not show server {server_id} of the volume"
        return Ending(reason=reason, code="server_unseen")
    if not server.exists:
        reason = (
            f"not sent: the volume is attached to server {server_id}, which the compute service does not know"
        )
        return Ending(reason=reason, code="server_not_found")
    reason = (
        f"not sent: the volume is attached to server {named(server)}, which is {_status(server)};"
        " only active ones are stopped"
    )
    return Ending(reason=reason, code="server_status")
