"""The servers at a given time: as the volumes, a function of the accepted requests and of that time.

A request to stop or start a server carries its outcome from the moment it is accepted::

    accepted_at                        done_at
    server   as before, with a task    | SHUTOFF or ACTIVE; as before where it failed
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from batchexport.sandbox.settings import SandboxServer

Action = Literal["stop", "start"]
STATUS_AFTER: dict[Action, str] = {"stop": "SHUTOFF", "start": "ACTIVE"}
TASK_OF: dict[Action, str] = {"stop": "powering-off", "start": "powering-on"}
#: What Nova calls a status where it speaks of the machine.
VM_STATES = {"SHUTOFF": "stopped"}


class Power(msgspec.Struct, frozen=True, kw_only=True, tag="power", tag_field="event"):
    """An accepted request to stop or start one server. Times are seconds since the epoch."""

    server_id: str
    action: Action
    accepted_at: float
    done_at: float
    job_id: str | None = None  #: of the batch that it was part of
    failure: str | None = None  #: why it fails
    refused: bool = False  #: it fails without touching the server
    made_by: str = "client"  #: or "somebody", another user that the weather plays


class ServerView(msgspec.Struct, frozen=True, kw_only=True):
    """A server as it is at one moment. `updated_at` None = never changed."""

    server: SandboxServer
    status: str
    task: str | None
    updated_at: float | None

    @property
    def vm_state(self) -> str:
        """Its status as Nova's refusals name it."""
        return VM_STATES.get(self.status, self.status.lower())


def refusal_reason(view: ServerView, action: Action) -> str | None:
    """Why a server cannot be stopped or started now, in Nova's words; None = it can."""
    server_id = view.server.server_id
    if view.server.locked:
        return f"Instance {server_id} is locked"
    allowed = ("ACTIVE", "ERROR") if action == "stop" else ("SHUTOFF",)
    if view.status not in allowed:
        return f"Cannot '{action}' instance {server_id} while it is in vm_state {view.vm_state}"
    if view.task is not None:
        return f"Cannot '{action}' instance {server_id} while it is in task_state {view.task}"
    return None


class Servers:
    """The servers of the project and what was asked of them."""

    def __init__(self, servers: Iterable[SandboxServer] = ()) -> None:
        self._servers = {server.server_id: server for server in servers}
        self.powers: list[Power] = []  #: every one, in the order of acceptance
        self._powers: dict[str, list[Power]] = {}
        self._jobs: dict[str, list[Power]] = {}
        self._holders: dict[str, tuple[str, ...]] = {}
        for server in self._servers.values():
            for volume_id in server.volume_ids:
                self._holders[volume_id] = (*self.holders(volume_id), server.server_id)

    def apply(self, event: Power) -> None:
        """Take in one accepted request."""
        self.powers.append(event)
        if not event.refused:
            insort(self._powers.setdefault(event.server_id, []), event, key=lambda each: each.accepted_at)
        if event.job_id is not None:
            self._jobs.setdefault(event.job_id, []).append(event)

    def holders(self, volume_id: str) -> tuple[str, ...]:
        """The ids of the servers that the volume is attached to."""
        return self._holders.get(volume_id, ())

    @property
    def volume_ids(self) -> Iterable[str]:
        """Every volume that is attached to a server."""
        return self._holders

    def server(self, server_id: str, now: float) -> ServerView | None:
        """The server at `now`, or None if there is none of this id."""
        server = self._servers.get(server_id)
        return None if server is None else self._view(server, now)

    def servers(self, now: float) -> Iterator[ServerView]:
        """Every server, in the order of the settings."""
        return (self._view(server, now) for server in self._servers.values())

    def job(self, job_id: str) -> list[Power] | None:
        """The requests of one batch, or None if there is no such job."""
        return self._jobs.get(job_id)

    def _view(self, server: SandboxServer, now: float) -> ServerView:
        status, task, updated_at = server.status, None, None
        for power in self._powers.get(server.server_id, ()):
            if now < power.accepted_at:
                break
            if power.made_by != "client" and status == STATUS_AFTER[power.action]:
                continue  # they do not start what runs
            if now < power.done_at:
                task, updated_at = TASK_OF[power.action], power.accepted_at
                break
            updated_at = power.done_at
            if power.failure is None:
                status = STATUS_AFTER[power.action]
        return ServerView(server=server, status=status, task=task, updated_at=updated_at)
