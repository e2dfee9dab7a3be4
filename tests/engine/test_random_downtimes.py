"""Random servers, faults, drains and crashes: whatever happens, every server that ran runs again.

As in test_random_schedules: a crash leaves what was committed at that moment, and each seed is one schedule.
"""

import random
from pathlib import Path
from typing import Any

import pytest

from batchexport.config import InUse, Limits, ServerStops, Settings
from batchexport.engine.steps.server_witness import SERVER_RAN, SERVER_UNSEEN
from batchexport.errors import OutcomeUnknownError, RefusedError, TransientError
from batchexport.model import JobState, ResourceState
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_servers import Machine, ServedCloud
from tests.engine.fast_time import fast_now, let_pass
from tests.engine.test_random_schedules import FAULTS, MAX_EXPORTS, RETRIES, SCHEDULES, until_crash

VOLUMES = 8
SERVERS = 5
ODD = ["paused", "suspended", "rescue"]
ORDER_ERRORS = [
    OutcomeUnknownError("connection reset"),
    TransientError("busy", status=503),
    RefusedError("Cannot 'stop' instance while it is in task_state rebooting", status=409),
]


def drawn_cloud(dice: Any, ids: list[str]) -> Any:
    """Volumes on none, one or two of the servers; most run, some are off, some in the way."""
    machines = {}
    for number in range(SERVERS):
        status = dice.choice(["active"] * 6 + ["shutoff", dice.choice(ODD)])
        stop_s, start_s = dice.choice([1.0, 20.0, 100.0, 700.0]), dice.choice([1.0, 30.0])
        machines[f"s{number}"] = Machine(status, stop_s=stop_s, start_s=start_s)
    attached = {volume_id: dice.sample(sorted(machines), dice.choice([0, 1, 1, 1, 2])) for volume_id in ids}
    faults = {volume_id: dice.choices(FAULTS, k=dice.randrange(3)) for volume_id in ids}
    cloud = ServedCloud(
        attached,
        machines=machines,
        faults=faults,
        upload_s=dice.choice([1.0, 20.0, 200.0]),
        image_lag_s=0.0,
        honours_force=dice.random() < 0.9,
    )
    cloud.order_errors = [
        (dice.choice(["stop", "start"]), dice.choice(ORDER_ERRORS)) for _ in range(dice.randrange(4))
    ]
    now = fast_now()
    for name in machines:
        begin = now + dice.uniform(0.0, 1000.0)
        if dice.random() < 0.2:
            cloud.away[name] = (begin, begin + dice.choice([10.0, 100.0, 500.0]))
        if dice.random() < 0.2:
            cloud.vanished[name] = (begin, begin + dice.uniform(1.0, 55.0))
        if dice.random() < 0.2 and name in cloud.running():
            cloud.strangers[name] = begin
    return cloud


def is_on_disk(bench: Bench) -> Any:
    """A watch that wants every order to be in the state file before it is carried out."""

    def watch(order: str, server_id: str) -> None:
        with bench.reader() as reader:
            states = {server.resource_id: server.state for server in reader.overview().resources}
        expected = ResourceState.ACQUIRING if order == "stop" else ResourceState.RELEASING
        assert states.get(server_id) is expected

    return watch


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_whatever_happens_every_server_that_ran_runs_again(tmp_path: Path, seed: int) -> None:
    dice = random.Random(1000 + seed)
    ids = volume_ids(VOLUMES)
    cloud = drawn_cloud(dice, ids)
    ran, strangers = cloud.running(), dict(cloud.strangers)
    settings = Settings(
        in_use=InUse.STOP,
        preflight=dice.random() < 0.8,
        limits=Limits(
            poll_interval_s=5.0, max_exports=MAX_EXPORTS, concurrency=3, retries=RETRIES, settle_s=30.0
        ),
        server_stops=ServerStops(max_down=dice.choice([1, 2, 10]), stop_timeout_s=300.0),
    )
    bench = Bench(tmp_path / "0.state")
    bench.load(ids)
    runs, done = 0, False
    while not done:
        cloud.watch_orders = is_on_disk(bench)
        stop_s = dice.choice([None, None, None, dice.uniform(1.0, 400.0)])
        crash_after = dice.choice([1000, dice.randrange(1, 25)])
        snapshot = tmp_path / f"{runs + 1}.state"
        crashed = until_crash(
            bench,
            cloud,
            snapshot,
            crash_after=crash_after,
            full_after=dice.randrange(1, 60),
            settings=settings,
            stop_s=stop_s,
        )
        runs += 1
        assert runs < 200, "it never ends"
        if crashed:
            bench = Bench(snapshot)
            let_pass(31.0)  # the dead owner's lease
        elif stop_s is None or not {"pending", "submitting", "exporting"} & set(bench.states().values()):
            done = True
        else:  # drained: nothing may be left down
            assert cloud.running() == ran, f"after drain {runs}"

    cloud.look_everywhere()
    assert cloud.torn == [] or strangers
    assert cloud.running() == ran
    with bench.reader() as reader:
        assert reader.overview().resources == []
    for volume_id, job in bench.jobs().items():
        good = cloud.good_images_of(volume_id)
        assert len(good) <= 1, f"{volume_id}: {len(good)} images"
        if job.state is JobState.SUCCEEDED:
            assert good == [job.image_id]
            assert job.image_id not in cloud.torn_images or job.code in (SERVER_RAN, SERVER_UNSEEN)
        else:
            assert job.state is JobState.FAILED
            assert not good
            assert job.reason
    assert cloud.most_in_progress <= MAX_EXPORTS
