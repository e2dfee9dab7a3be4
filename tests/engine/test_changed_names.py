"""Rows whose image names change with their list: no image is lost, taken for another row's or made twice."""

from pathlib import Path

import pytest

from batchexport.config import Limits, Settings
from batchexport.errors import ListChangedError
from batchexport.model import NO_OPTIONS, JobRow, TargetKey
from batchexport.store import MADE, Differences, RunRecord, building, stores
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import EPOCH, FakeCloud
from tests.engine.test_evidence import RUN, foreign, one_image_each

SETTINGS = Settings(limits=Limits(poll_interval_s=5.0))


def load(path: Path, named: dict[str, str], *, sha: str = "0") -> None:
    """A list of these volumes, each with its image name."""
    with building(path) as build:
        for line, (volume_id, name) in enumerate(named.items(), 1):
            row = JobRow(
                line=line, volume_id=volume_id, image_name=None, target=TargetKey(), options=NO_OPTIONS
            )
            build.add(row, name)
        build.finish(
            RunRecord(
                run_id=RUN,
                created_at=EPOCH,
                list_name="list.csv",
                list_sha256=sha * 64,
                rows=len(named),
                settings="{}",
                version="0",
            )
        )


def change(bench: Bench, named: dict[str, str]) -> Differences:
    """The list as it is now."""
    fresh = bench.path.with_suffix(".fresh")
    fresh.unlink(missing_ok=True)
    load(fresh, named, sha="1")
    return stores.update(bench.path, fresh)


def sent_in_vain(bench: Bench, cloud: FakeCloud, volume_id: str) -> None:
    """Stop once the request of this volume is given up as lost on its way."""
    bench.run(
        cloud,
        stop_when=lambda changes: (volume_id, "submitting", "pending") in changes,
        settings=SETTINGS,
    )
    assert bench.states()[volume_id] == "pending"


def test_a_name_made_from_the_line_stays_with_the_row_that_may_have_been_sent_under_it(bench: Bench) -> None:
    first, second = volume_ids(2)
    load(bench.path, {first: f"{RUN}-1"})
    cloud = FakeCloud(faults={first: ["lost before"]})
    sent_in_vain(bench, cloud, first)
    change(bench, {second: f"{MADE}{RUN}-4", first: f"{MADE}{RUN}-2"})
    cloud.accept_elsewhere(first, name=f"{RUN}-1")  # it waited in a proxy
    bench.run(cloud, settings=SETTINGS)
    one_image_each(bench, cloud, [first, second])


def test_an_image_that_came_late_under_the_name_that_a_row_had_is_not_made_again(bench: Bench) -> None:
    (volume_id,) = ids = volume_ids(1)
    load(bench.path, {volume_id: f"{RUN}-old"})
    cloud = FakeCloud(faults={volume_id: ["lost before"]})
    sent_in_vain(bench, cloud, volume_id)
    change(bench, {volume_id: f"{RUN}-new"})
    cloud.accept_elsewhere(volume_id, name=f"{RUN}-old")
    bench.run(cloud, settings=SETTINGS)
    one_image_each(bench, cloud, ids)
    assert f"{RUN}-old" in (bench.jobs()[volume_id].reason or "")  # it is not called as asked


@pytest.mark.parametrize("preflight", [True, False])
def test_an_image_of_the_new_name_that_was_there_before_is_never_taken(bench: Bench, preflight: bool) -> None:
    first, second = ids = volume_ids(2)
    load(bench.path, {first: "monday", second: "tuesday"})
    cloud = FakeCloud(faults={second: ["lost before"]})
    settings = Settings(limits=Limits(poll_interval_s=5.0, max_exports=1), preflight=preflight)
    foreign(cloud, "friday")
    bench.run(
        cloud, stop_when=lambda changes: (first, "submitting", "exporting") in changes, settings=settings
    )
    change(bench, {first: "monday", second: "friday"})
    bench.run(cloud, settings=settings)
    one_image_each(bench, cloud, ids)


def test_a_row_takes_no_name_under_which_another_may_have_been_sent(bench: Bench) -> None:
    first, second = volume_ids(2)
    load(bench.path, {first: "monday", second: "tuesday"})
    cloud = FakeCloud(faults={first: ["lost before"]})
    sent_in_vain(bench, cloud, first)
    change(bench, {first: "friday"})
    with pytest.raises(ListChangedError, match="monday"):
        change(bench, {first: "friday", volume_ids(3)[2]: "monday"})
    change(bench, {first: "monday"})  # its own is free to it
