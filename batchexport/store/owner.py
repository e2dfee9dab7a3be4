"""Who holds a target, and whether that process still lives."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from batchexport.errors import StateInUseError

PROC = Path("/proc")


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """One process on one host, so that a later process of the same number is not taken for it.

    What a system without /proc cannot tell is None.
    """

    host: str
    pid: int
    since: float  #: seconds since the epoch
    started: int | None  #: kernel clock ticks from boot to the start of the process
    boot_id: str | None
    pid_namespace: str | None  #: a number means a process only within its namespace (containers)
    locks_file: bool = False  #: it holds a lock on the file, which this system would show
    file: tuple[int, int] | None = None  #: device and inode of that file; None = noted by nobody

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since, UTC)
        return f"process {self.pid} on {self.host}, since {since:%Y-%m-%d %H:%M:%S} UTC"


def this_process(*, now: float, proc: Path = PROC) -> Owner:
    """The calling process as an owner from `now` on."""
    pid = os.getpid()
    return Owner(
        host=socket.gethostname(),
        pid=pid,
        since=now,
        started=_started(pid, proc),
        boot_id=_line(proc / "sys/kernel/random/boot_id"),
        pid_namespace=_link(proc / "self/ns/pid"),
    )


def is_alive(owner: Owner, *, here: Owner, proc: Path = PROC) -> bool | None:
    """Whether the owner still runs, seen from the process `here`; None = cannot be told from here."""
    if owner.host != here.host:
        return None
    if owner.boot_id != here.boot_id:
        return None  # restarted, or another machine of the same name: cloned ones share a host name
    if owner.pid_namespace != here.pid_namespace:
        return None
    if not _pid_exists(owner.pid) or _is_zombie(owner.pid, proc):
        return False
    started = _started(owner.pid, proc)
    return started is None or owner.started is None or started == owner.started


def _pid_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's process, but a process
    return True


def _stat(pid: int, proc: Path) -> list[str]:
    # The second field is the command in parentheses and may itself hold spaces and parentheses.
    return (_line(proc / str(pid) / "stat") or "").rpartition(")")[2].split()


def _is_zombie(pid: int, proc: Path) -> bool:
    return _stat(pid, proc)[:1] in (["Z"], ["X"])


def _started(pid: int, proc: Path) -> int | None:
    fields = _stat(pid, proc)
    return int(fields[19]) if len(fields) > 19 else None  # field 22 of stat(5)


def _line(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _link(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except OSError:
        return None


def why_not(owner: Owner, *, lease_until: float, now: float, alive: bool | None) -> StateInUseError | None:
    """The refusal to take a target from this owner, or None where it may be taken over. Pure."""
    if alive is False or now >= lease_until:
        return None
    free_at = datetime.fromtimestamp(lease_until, UTC)
    hint = (
        f"wait for it to end, or stop it (kill -TERM {owner.pid}), then run the same command again"
        if alive
        else f"if it is gone for good, run the same command again after {free_at:%H:%M:%S} UTC"
    )
    return StateInUseError(f"the state file is in use by {owner}", hint=hint)
