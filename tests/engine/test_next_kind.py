"""A new kind of resource is a small addition, and what holds for servers holds for it, whatever happens."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchexport.config import Limits, Settings
from batchexport.engine.resources.lifecycle import Condition
from batchexport.errors import CloudError, OutcomeUnknownError, TransientError
from batchexport.model import JobState, ResourceState
from tests.engine import permits
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import FakeCloud
from tests.engine.fast_time import fast_now, let_pass
from tests.engine.permits import Permit
from tests.engine.test_random_schedules import FAULTS, MAX_EXPORTS, RETRIES, SCHEDULES, until_crash

#: Schedules that the quick tests try: ten seconds each.
QUICK = 3

VOLUMES = 6
SETTINGS = Settings(
    limits=Limits(poll_interval_s=5.0, max_exports=MAX_EXPORTS, concurrency=3, retries=RETRIES, settle_s=30.0)
)


def test_the_next_kind_takes_less_than_a_hundred_lines() -> None:
    """It grew unnoticed to 136 with every question that a kind was asked, before these had defaults."""
    assert len(Path(permits.__file__).read_text("utf-8").splitlines()) < 100


class PermitCloud(FakeCloud):
    """Grants a permit some time after it was requested, and takes it back some time after it was deleted."""

    def __init__(self, *, grant_s: float, revoke_s: float, lost: list[str], **options: Any) -> None:
        super().__init__(**options)
        self._grant_s, self._revoke_s = grant_s, revoke_s
        self.lost = lost  # what becomes of the next requests for permits
        self.granted: dict[str, float] = {}  # permit -> when it is granted
        self.revoked: dict[str, float] = {}  # permit -> when it is gone
        self.before_change: Callable[[str, str], None] | None = None
        self.after_order: Callable[[], None] | None = None
        self.unpermitted: list[str] = []  # volumes exported without one

    def look_at_permit(self, permit_id: str) -> Condition:
        if fast_now() >= self.revoked.get(permit_id, 1e18):
            del self.granted[permit_id], self.revoked[permit_id]
        if permit_id not in self.granted:
            return Condition.ABSENT
        is_changing = permit_id in self.revoked or fast_now() < self.granted[permit_id]
        return Condition.CHANGING if is_changing else Condition.HELD

    def change_permits(
        self, what: str, permit_ids: list[str], fence: Callable[[], None]
    ) -> dict[str, CloudError]:
        fence()
        failed: dict[str, CloudError] = {}
        for permit_id in permit_ids:
            assert self.before_change is not None
            self.before_change(what, permit_id)
            fault = self.lost.pop() if self.lost else "none"
            if fault != "before":
                self._change(what, permit_id)
            if fault != "none":
                failed[permit_id] = (
                    OutcomeUnknownError("reset") if fault == "after" else TransientError("busy")
                )
            if self.after_order is not None:
                asyncio.get_running_loop().call_soon(self.after_order)
        return failed

    def _change(self, what: str, permit_id: str) -> None:
        condition = self.look_at_permit(permit_id)
        if what == "acquire" and condition is Condition.ABSENT:
            self.granted[permit_id] = fast_now() + self._grant_s
        if what == "release" and permit_id in self.granted:
            self.revoked.setdefault(permit_id, fast_now() + self._revoke_s)

    def _may_export(self, volume: Any, request: Any) -> bool:
        if self.look_at_permit(f"permit-{volume.volume_id}") is not Condition.HELD:
            self.unpermitted.append(volume.volume_id)
        return super()._may_export(volume, request)


def is_on_disk(bench: Bench) -> Callable[[str, str], None]:
    """A watch that wants the intent of every request in the state file before it is carried out."""

    def watch(what: str, permit_id: str) -> None:
        with bench.reader() as reader:
            states = {each.resource_id: each.state for each in reader.overview().resources}
        expected = ResourceState.ACQUIRING if what == "acquire" else ResourceState.RELEASING
        assert states.get(permit_id) is expected

    return watch


@pytest.mark.parametrize(
    "seed",
    [seed if seed < QUICK else pytest.param(seed, marks=pytest.mark.slow) for seed in range(SCHEDULES)],
)
def test_whatever_happens_every_permit_is_given_back(tmp_path: Path, seed: int) -> None:
    dice = random.Random(3000 + seed)
    ids = volume_ids(VOLUMES)
    cloud = PermitCloud(
        grant_s=dice.choice([0.0, 20.0, 200.0]),
        revoke_s=dice.choice([0.0, 20.0]),
        lost=dice.choices(["before", "after", "none", "none"], k=dice.randrange(12)),
        faults={volume_id: dice.choices(FAULTS, k=dice.randrange(3)) for volume_id in ids},
        upload_s=dice.choice([1.0, 20.0, 200.0]),
        image_lag_s=0.0,
    )
    bench = Bench(tmp_path / "0.state")
    bench.load(ids)
    runs, done = 0, False
    while not done:
        cloud.before_change = is_on_disk(bench)
        stop_s = dice.choice([None, None, dice.uniform(1.0, 400.0)])
        snapshot = tmp_path / f"{runs + 1}.state"
        crashed = until_crash(
            bench,
            cloud,
            snapshot,
            crash_after=dice.choice([1000, dice.randrange(1, 25)]),
            full_after=dice.randrange(1, 60),
            settings=SETTINGS,
            stop_s=stop_s,
            make_kinds=(Permit,),
        )
        runs += 1
        assert runs < 200, "it never ends"
        if crashed:
            bench = Bench(snapshot)
            let_pass(31.0)  # the dead owner's lease
        else:
            let_pass(30.0)
            assert [
                each for each in list(cloud.granted) if cloud.look_at_permit(each) is not Condition.ABSENT
            ] == []
            done = not {"pending", "submitting", "exporting"} & set(bench.states().values())
    assert cloud.unpermitted == []
    with bench.reader() as reader:
        assert reader.overview().resources == []
    for volume_id, job in bench.jobs().items():
        good = cloud.good_images_of(volume_id)
        assert good == ([job.image_id] if job.state is JobState.SUCCEEDED else [])
        assert job.state in (JobState.SUCCEEDED, JobState.FAILED)
