"""Workers as processes that are killed, stopped, frozen and drained: nothing is sent twice or lost."""

from __future__ import annotations

import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchexport.model import JobState
from batchexport.store.fleet import Standing
from batchexport.store.postgres.reference import DatabasePath
from tests.fleet.machines import PACE, Machines, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


@pytest.fixture
def machines(tmp_path: Path, database: DatabasePath) -> Iterator[Machines]:
    with Machines(tmp_path, database) as found:
        yield found


def until_ended(machines: Machines, *runs: str) -> None:
    wait_until(lambda: all(machines.run(run).standing is Standing.ENDED for run in runs), 300)


def test_a_worker_that_is_killed_is_replaced_and_one_that_is_stopped_hands_over(machines: Machines) -> None:
    machines.add_clouds("one", time_scale=0.02)
    machines.submit("march", 100, ["one"])
    for name in ("w1", "w2", "w3"):
        machines.add_worker(name)
    wait_until(lambda: machines.done("march") > 3)
    first = machines.holder("march")
    assert first is not None
    machines.workers[first].kill()
    machines.workers.pop(first).wait()
    wait_until(lambda: machines.holder("march") is not None, 30)
    second = machines.holder("march")
    assert second is not None
    before = machines.done("march")
    wait_until(lambda: machines.done("march") > before + 3)
    machines.workers[second].send_signal(signal.SIGTERM)
    assert machines.workers[second].wait(30) == 143
    machines.workers.pop(second)
    (third,) = machines.workers
    wait_until(lambda: machines.holder("march") == third, 30)
    machines.call("drain", str(machines.database), "--worker", third)
    assert machines.workers[third].wait(30) == 0
    machines.add_worker("w4")
    until_ended(machines, "march")
    assert machines.exports() == dict.fromkeys(machines.volumes, 1)
    assert machines.done("march") == len(machines.volumes)


def test_a_worker_that_is_frozen_is_replaced_and_sends_nothing_when_it_thaws(machines: Machines) -> None:
    machines.add_clouds("one", time_scale=0.02)
    machines.submit("march", 120, ["one"], "--requests-per-second", "5")
    machines.add_worker("w1")
    wait_until(lambda: machines.done("march") > 3)
    machines.add_worker("w2")
    machines.workers["w1"].send_signal(signal.SIGSTOP)
    wait_until(lambda: machines.holder("march") == "w2", 40)
    machines.workers["w1"].send_signal(signal.SIGCONT)
    until_ended(machines, "march")
    assert "took it over" in machines.log("w1")
    assert machines.exports() == dict.fromkeys(machines.volumes, 1)


def test_a_cancelled_run_ends_with_what_was_under_way_and_can_be_taken_up_again(machines: Machines) -> None:
    machines.add_clouds("one", "two", time_scale=0.02)
    machines.submit("march", 60, ["one", "two"], "--requests-per-second", "4")
    machines.add_worker("w1", "--slots", "1")  # one target is never begun
    wait_until(lambda: machines.done("march") > 3)
    machines.call("ctl", "march", "cancel")
    until_ended(machines, "march")
    run = machines.run("march")
    jobs: Counter[JobState] = Counter()
    for target in run.targets:
        jobs.update(target.jobs)
    assert (run.note, set(jobs), sum(jobs.values())) == ("cancelled", {"succeeded", "failed"}, 120)
    assert jobs[JobState.FAILED] > 60
    # Whatever was sent has ended well, and nothing else was sent.
    assert sum(machines.exports().values()) == jobs[JobState.SUCCEEDED]
    assert set(machines.exports().values()) == {1}
    assert "nothing was sent" in machines.call("report", "march", "--only", "failed", "--format", "json")
    assert "has ended" in machines.call("ctl", "march", "cancel")

    machines.call("retry", "march")
    machines.call("ctl", "march", "continue")
    until_ended(machines, "march")
    assert machines.exports() == dict.fromkeys(machines.volumes, 1)


def test_who_waits_for_a_run_hears_how_it_goes_and_how_it_ended(machines: Machines) -> None:
    machines.add_clouds("one")
    (machines.folder / "march.csv").write_text(f"volume_id\n{uuid.uuid4()}\n{uuid.uuid4()}\n")
    words = ("submit", "march.csv", "--os-cloud", "one", *PACE, "--wait")
    given_up = machines.start(*words, log="given-up")
    wait_until(lambda: "march waits for a worker" in machines.log("given-up"))
    given_up.send_signal(signal.SIGINT)
    assert given_up.wait(30) == 130
    waiting = machines.start(*words, log="waiting")
    wait_until(lambda: "march waits for a worker: 0 of 2 rows done" in machines.log("waiting"))
    machines.add_worker("w1")
    assert waiting.wait(120) == 0
    assert machines.done("march") == 2


def test_who_waits_for_a_run_hears_that_failures_have_paused_it(machines: Machines) -> None:
    machines.add_clouds("one", are_empty=True)
    (machines.folder / "march.csv").write_text(f"volume_id\n{uuid.uuid4()}\n{uuid.uuid4()}\n")
    words = ("submit", "march.csv", "--os-cloud", "one", *PACE, "--max-exports", "1")
    waiting = machines.start(*words, "--max-failures", "1", "--wait", log="waiting")
    machines.add_worker("w1")
    assert waiting.wait(120) == 6, machines.log("waiting")
    assert "limit of --max-failures" in machines.log("waiting")
    assert "ctl march continue" in machines.log("waiting").replace(f"{machines.database}/", "")


def test_two_runs_on_one_project_come_one_after_the_other(machines: Machines) -> None:
    machines.add_clouds("one")
    for run in ("march", "april"):
        machines.submit(run, 40, ["one"])
    for name in ("w1", "w2"):
        machines.add_worker(name)
    held: list[int] = []

    def is_over() -> bool:
        held.append(len(machines.held_by("w1")) + len(machines.held_by("w2")))
        return all(machines.run(run).standing is Standing.ENDED for run in ("march", "april"))

    wait_until(is_over, 200)
    assert machines.exports() == dict.fromkeys(machines.volumes, 1)


def test_chaos_sends_nothing_twice_and_loses_nothing(machines: Machines) -> None:
    """Three workers on two runs on three clouds, a fault every few seconds."""
    draw = random.Random(7)
    clouds = ["one", "two", "three"]
    machines.add_clouds(*clouds, time_scale=0.02)
    for run in ("march", "april"):
        machines.submit(run, 120, clouds, "--requests-per-second", "4")
    for number in range(3):
        machines.add_worker(f"w{number}", "--slots", "2")
    wait_until(lambda: machines.done("march") > 5)
    faults, number = 0, 3
    frozen: list[tuple[float, str]] = []
    while any(machines.run(run).standing is not Standing.ENDED for run in ("march", "april")):
        for thaw_at, name in [each for each in frozen if each[0] <= time.monotonic()]:
            machines.workers[name].send_signal(signal.SIGCONT)
            frozen.remove((thaw_at, name))
        asleep = {name for _, name in frozen}
        victims = [name for name in machines.workers if name not in asleep]
        if faults < 15 and victims:
            name, fault = draw.choice(victims), draw.choice(["KILL", "STOP", "TERM"])
            faults += 1
            machines.workers[name].send_signal(signal.Signals[f"SIG{fault}"])
            if fault == "STOP":
                frozen.append((time.monotonic() + draw.choice([3.0, 35.0]), name))
            else:
                machines.workers.pop(name).wait(60)
                machines.add_worker(f"w{number}", "--slots", "2")
                number += 1
        time.sleep(3)
    assert faults >= 10
    assert machines.exports() == dict.fromkeys(machines.volumes, 1)
    for run in ("march", "april"):
        assert machines.done(run) == 360
