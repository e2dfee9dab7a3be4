"""Of two processes on one state file only one works, whatever the other slept through."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import pytest

from tests.crash.invariants import violations
from tests.crash.site import Ended, Site, Trap
from tests.crash.waiting import wait_until

LEASE_S = 3.0
IN_USE = 4


def test_a_second_process_is_refused_at_once_and_told_who_works(calm_site: Callable[[int], Site]) -> None:
    site = calm_site(20)
    with site.cloud.frozen(), site.process() as first:
        wait_until(site.state_path.exists)
        wait_until(lambda: owner_is_named(site))
        second = site.run()
        assert first.poll() is None
    assert second.exit_code == IN_USE
    assert f"in use by process {first.pid} on {socket.gethostname()}" in second.talk
    assert "Traceback" not in second.talk


def owner_is_named(site: Site) -> bool:
    from batchexport.store import StateReader

    with StateReader(site.state_path) as reader:
        return bool(reader.holders())


@pytest.mark.parametrize("point", ["after_intent", "at_connect", "after_202", "at_settle_look"])
def test_a_frozen_process_that_was_taken_over_sends_nothing_more(
    calm_site: Callable[[int], Site], point: str
) -> None:
    site = calm_site(20)
    driver = ("--freeze", "--lease-s", str(LEASE_S))
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


def is_stopped(pid: int) -> bool:
    """Whether the process was stopped by a signal."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"
