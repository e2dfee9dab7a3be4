"""Random faults, crashes and stops while volumes in use are exported by way of copies."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from batchexport.config import CopyLimits, InUse, Limits, Settings
from batchexport.dialect import CINDER, EVS
from batchexport.engine.steps.copy_marks import RUN, CopyName, name_of
from batchexport.model import JobState, ResourceState, ResourceType
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_copies import CopyCloud
from tests.engine.fast_time import let_pass
from tests.engine.test_random_schedules import FAULTS, MAX_EXPORTS, RETRIES, SCHEDULES, until_crash

VOLUMES = 6
RUN_ID = "20270115-aaaaaa"
#: What becomes of requests to make and delete copies.
LOST = ["before", "after", "late", "twice", "unavailable", "busy", "error", *["none"] * 6]


def settings(dice: random.Random) -> Settings:
    limits = Limits(
        poll_interval_s=dice.choice([5.0, None]),
        max_exports=MAX_EXPORTS,
        concurrency=3,
        retries=RETRIES,
        settle_s=30.0,
    )
    copies = CopyLimits(max_temporary=dice.choice([2, 8]), max_temporary_gib=dice.choice([None, 30]))
    return Settings(in_use=InUse.SNAPSHOT, limits=limits, copies=copies)


def is_on_disk(bench: Bench) -> Callable[[str, str, str], None]:
    """A watch that wants the intent of every request in the state file before it is carried out."""

    def watch(what: str, kind: str, name: str) -> None:
        with bench.reader() as reader:
            states = [
                (each.kind, each.state)
                for each in reader.overview().resources
                if name_of(each.resource_id) == name
            ]
        expected = ResourceState.ACQUIRING if what == "create" else ResourceState.RELEASING
        assert (kind, expected) in states

    return watch


def strangers(cloud: CopyCloud) -> list[str]:
    """Things of others that look like ours."""
    name = CopyName(kind=ResourceType.VOLUME, run_id=RUN_ID, job_id=1, attempt=1, token="abcdef")
    return [
        cloud.add("volume", str(name), {}),
        cloud.add("volume", "web", {RUN: RUN_ID}),
        cloud.add("snapshot", str(name).replace("volume", "snapshot"), {RUN: "another"}),
    ]


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_whatever_happens_no_copy_is_left_and_no_volume_gets_two_images(tmp_path: Path, seed: int) -> None:
    dice = random.Random(4000 + seed)
    ids = volume_ids(VOLUMES)
    servers = dice.choice([[f"server-{number}" for number in range(VOLUMES)], ["a", "b"]])
    cloud = CopyCloud(
        {volume_id: dice.choice(servers) for volume_id in ids if dice.random() < 0.8},
        create_s=dice.choice([0.0, 20.0, 200.0]),
        delete_s=dice.choice([0.0, 20.0]),
        lost=dice.choices(LOST, k=dice.randrange(30)),
        quota=dice.choice([1000, 1000, 3, 1]),
        clones=dice.random() < 0.5,
        faults={volume_id: dice.choices(FAULTS, k=dice.randrange(3)) for volume_id in ids},
        upload_s=dice.choice([1.0, 20.0, 200.0]),
        image_lag_s=0.0,
    )
    cloud.dialect = dice.choice([CINDER, CINDER, EVS])
    others = strangers(cloud)
    bench = Bench(tmp_path / "0.state")
    bench.load(ids)
    chosen = settings(dice)
    runs, done = 0, False
    while not done:
        cloud.before_change = is_on_disk(bench)
        snapshot = tmp_path / f"{runs + 1}.state"
        crashed = until_crash(
            bench,
            cloud,
            snapshot,
            crash_after=dice.choice([1000, dice.randrange(1, 25)]),
            full_after=dice.randrange(1, 60),
            settings=chosen,
            stop_s=dice.choice([None, None, dice.uniform(1.0, 400.0)]),
        )
        runs += 1
        assert runs < 200, "it never ends"
        if crashed:
            bench = Bench(snapshot)
            let_pass(31.0)  # the dead owner's lease
        else:
            let_pass(30.0)
            assert cloud.left() == []
            done = not {"pending", "submitting", "exporting"} & set(bench.states().values())
    assert not set(others) & set(cloud.removed)
    with bench.reader() as reader:
        assert reader.overview().resources == []
    for volume_id, job in bench.jobs().items():
        good = cloud.good_images_of(volume_id)
        assert good == ([job.image_id] if job.state is JobState.SUCCEEDED else [])
        assert job.state in (JobState.SUCCEEDED, JobState.FAILED)
