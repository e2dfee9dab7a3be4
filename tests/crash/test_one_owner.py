"""Of two processes on one state file only one works, whatever the other slept through."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from batchexport.store import StateReader
from tests.crash.invariants import violations
from tests.crash.site import Ended, Site, Trap
from tests.crash.waiting import wait_until

LEASE_S = 1.5
IN_USE = 4


def has_owner(site: Site) -> bool:
    if not site.state_path.exists():
        return False
    with StateReader(site.state_path) as reader:
        return bool(reader.processes().holders)


def is_stopped(pid: int) -> bool:
    """Whether the process was stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_second_process_is_refused_at_once_and_told_who_works(calm_site: Callable[[int], Site]) -> None:
    site = calm_site(20)
    with site.cloud.frozen(), site.process() as first:
        wait_until(lambda: has_owner(site))
        second = site.run()  # it asks the cloud for nothing, or it would wait as the first one does
        assert first.poll() is None
    assert second.exit_code == IN_USE
    assert f"in use by process {first.pid} on {socket.gethostname()}" in second.talk
    assert "Traceback" not in second.talk


@pytest.mark.parametrize("point", ["after_intent", "at_connect", "after_202"])
def test_a_frozen_process_that_was_taken_over_sends_nothing_more(
    calm_site: Callable[[int], Site], point: str
) -> None:
    site = calm_site(1)  # no other row whose sending could notice first
    driver = ("--signal", "SIGSTOP", "--lease-s", str(LEASE_S))
    with site.process(trap=Trap(point=point), driver=driver) as frozen:
        wait_until(lambda: is_stopped(frozen.pid))
        other = Ended(IN_USE, "")
        while other.exit_code == IN_USE:  # until the lease of the frozen one has run out
            other = site.run()
        assert other.exit_code == 0, other.talk
        sent = len(site.cloud.requests())
        frozen.send_signal(signal.SIGCONT)
        thawed = site.end_of(frozen)
    assert thawed.exit_code == IN_USE, thawed.talk
    assert "lease" in thawed.talk or "took it over" in thawed.talk
    assert len(site.cloud.requests()) == sent
    assert violations(site.state_path, site.volume_ids, site.cloud) == []
