"""SIGINT and SIGTERM let a run end in good order, a second one ends it at once; the next run finishes it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from batchexport.model import JobState
from batchexport.store import StateReader
from tests.crash.invariants import violations
from tests.crash.site import Site, Trap
from tests.crash.waiting import wait_until

#: Slow enough that a hundred volumes are not all sent before a signal can come.
PACED = ("--requests-per-second", "50")


def rows_in(site: Site, state: JobState) -> int:
    with StateReader(site.state_path) as reader:
        return sum(tally.jobs for tally in reader.overview().tallies if tally.state is state)


def has_request_without_answer(site: Site) -> bool:
    """Whether a row is submitting for longer than any waits for its turn at the pace of `PACED`."""
    with StateReader(site.state_path) as reader:
        rows = reader.jobs(states=frozenset({JobState.SUBMITTING}))
        return any(time.time() - (row.intent_at or time.time()) > 1.5 for row in rows)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_the_run_and_the_next_one_finishes_it(
    calm_site: Callable[[int], Site], number: signal.Signals, exit_code: int
) -> None:
    site = calm_site(100)
    before = len(site.cloud.exports())
    with site.process(*PACED) as process:
        wait_until(lambda: len(site.cloud.exports()) - before >= 20)
        process.send_signal(number)
        drained = site.end_of(process)
    assert drained.exit_code == exit_code, drained.talk
    assert f"{number.name}: finishing requests in flight" in drained.talk
    assert rows_in(site, JobState.PENDING)

    ended = site.run()
    assert ended.exit_code == 0, ended.talk
    assert violations(site.state_path, site.volume_ids, site.cloud) == []
    assert len(site.cloud.exports()) - before == 100


@pytest.mark.parametrize("point", ["before_commit:claim", "at_send"])
def test_a_drained_run_leaves_no_row_in_doubt(calm_site: Callable[[int], Site], point: str) -> None:
    site = calm_site(100)
    trap = Trap(point=point, times=3)
    drained = site.run(*PACED, trap=trap, driver=("--signal", "SIGTERM"))
    assert drained.exit_code == 143, drained.talk
    assert rows_in(site, JobState.PENDING)
    assert not rows_in(site, JobState.SUBMITTING)


def test_a_second_signal_leaves_at_once_and_the_next_run_finishes(calm_site: Callable[[int], Site]) -> None:
    site = calm_site(100)
    before = len(site.cloud.exports())
    with site.process(*PACED) as process:
        wait_until(lambda: len(site.cloud.exports()) - before >= 5)
        with site.cloud.frozen():
            wait_until(lambda: has_request_without_answer(site))
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            told = next(line for line in process.stdout if line.startswith("SIGTERM"))
            assert "once more exits at once" in told
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            left = site.end_of(process)
    assert left.exit_code == 143
    assert "exiting now" in left.talk
    assert rows_in(site, JobState.SUBMITTING)

    ended = site.run()
    assert ended.exit_code == 0, ended.talk
    assert violations(site.state_path, site.volume_ids, site.cloud) == []
