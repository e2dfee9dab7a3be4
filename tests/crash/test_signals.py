"""SIGINT and SIGTERM let a run end in good order, a second one ends it at once; the next run finishes it."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from batchexport.model import JobState
from batchexport.store import StateReader
from tests.crash.invariants import violations
from tests.crash.site import Site
from tests.crash.waiting import wait_until


def rows_in(site: Site, state: JobState) -> int:
    with StateReader(site.state_path) as reader:
        return sum(tally.jobs for tally in reader.tallies() if tally.state is state)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_the_run_and_the_next_one_finishes_it(
    calm_site: Callable[[int], Site], number: signal.Signals, exit_code: int
) -> None:
    site = calm_site(100)
    before = len(site.cloud.exports())
    with site.process("--requests-per-second", "50") as process:
        wait_until(lambda: len(site.cloud.exports()) - before >= 20)
        process.send_signal(number)
        drained = site.end_of(process)
    assert drained.exit_code == exit_code, drained.talk
    assert f"{number.name}: finishing the requests under way" in drained.talk
    assert rows_in(site, JobState.PENDING)
    assert not rows_in(site, JobState.SUBMITTING)

    ended = site.run()
    assert ended.exit_code == 0, ended.talk
    assert violations(site.state_path, site.volume_ids, site.cloud) == []
    assert len(site.cloud.exports()) - before == 100


def test_a_second_signal_leaves_at_once_and_the_next_run_finishes(calm_site: Callable[[int], Site]) -> None:
    site = calm_site(20)
    with site.cloud.frozen(), site.process() as process:
        wait_until(lambda: site.state_path.exists() and rows_in(site, JobState.SUBMITTING) > 0)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        told = next(line for line in process.stdout if line.startswith("SIGTERM"))
        assert "once more leaves at once" in told
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        left = site.end_of(process)
    assert left.exit_code == 143
    assert "leaving now" in left.talk
    assert rows_in(site, JobState.SUBMITTING)

    ended = site.run()
    assert ended.exit_code == 0, ended.talk
    assert violations(site.state_path, site.volume_ids, site.cloud) == []
