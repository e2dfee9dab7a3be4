"""The id of an image is chosen before a temporary volume is exported: a lost answer is settled by proof."""

from pathlib import Path
from typing import Any

import pytest

from batchexport.config import InUse, Limits, Settings
from batchexport.dialect import EVS
from tests.engine import fake_cloud
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_copies import CopyCloud

IDS = volume_ids(6)


def settings(**limits: Any) -> Settings:
    return Settings(in_use=InUse.SNAPSHOT, limits=Limits(poll_interval_s=5.0, settle_s=30.0, **limits))


def alone(faults: dict[str, list[str]] | None = None, **options: Any) -> CopyCloud:
    return CopyCloud({each: f"server-{each[:8]}" for each in IDS}, faults=faults or {}, **options)


def check(bench: Bench, cloud: CopyCloud) -> None:
    """Each row has its one image, whatever others are called like it, and no copy is left."""
    assert set(bench.states().values()) == {"succeeded"}
    for volume_id, job in bench.jobs().items():
        assert cloud.good_images_of(volume_id) == [job.image_id]
    assert cloud.left() == []


def test_the_image_has_the_id_that_was_chosen(bench: Bench) -> None:
    bench.load(IDS)
    cloud = alone()
    bench.run(cloud, settings=settings())
    check(bench, cloud)
    assert {job.image_id for job in bench.jobs().values()} == cloud.given_ids
    assert cloud.calls["set_image_metadata"] == len(IDS)


@pytest.mark.parametrize("fault", ["lost", "lost before", "late", "twice", "lost and fails", "unavailable"])
@pytest.mark.parametrize("ids", ["honoured", "ignored", "refused", "unavailable"])
def test_a_lost_answer_makes_no_second_image(bench: Bench, fault: str, ids: str) -> None:
    bench.load(IDS)
    faults = {each: [fault] * number for number, each in enumerate(IDS[:3], 1)}
    if fault == "twice" and ids == "honoured":
        faults = {}  # the second of one id is refused by the cloud itself
    cloud = alone(faults, ids=ids)
    bench.run(cloud, settings=settings())
    if fault == "twice" and ids != "honoured":
        assert set(bench.states().values()) == {"ambiguous", "succeeded"}
    else:
        check(bench, cloud)


def test_somebody_elses_image_of_the_same_name_makes_nothing_ambiguous(bench: Bench) -> None:
    """It appears while the request of ours has no answer: by its name alone nobody could tell."""
    bench.load(IDS[:1])
    cloud = alone({IDS[0]: ["lost"]})
    cloud.after_export = lambda: cloud.accept_elsewhere("another", name=f"{IDS[0]}-night")
    bench.run(cloud, settings=settings())
    check(bench, cloud)


def test_a_request_that_arrives_long_after_it_was_given_up_makes_no_second_image(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_cloud, "LATE_S", 300.0)
    bench.load(IDS)
    cloud = alone({IDS[0]: ["late"]}, upload_s=500.0)
    bench.run(cloud, settings=settings())
    check(bench, cloud)


@pytest.mark.parametrize(("ids", "most"), [("ignored", 3), ("refused", 3)])
def test_a_cloud_that_does_not_honour_ids_is_not_asked_again(bench: Bench, ids: str, most: int) -> None:
    bench.load(IDS)
    cloud = alone(ids=ids)
    bench.run(cloud, settings=settings(concurrency=1, max_exports=3))
    check(bench, cloud)
    assert cloud.calls["set_image_metadata"] <= most


def test_evs_is_never_asked(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = alone()
    cloud.dialect = EVS
    bench.run(cloud, settings=settings())
    check(bench, cloud)
    assert cloud.calls["set_image_metadata"] == 0


def test_a_name_that_holds_the_run_is_proof_enough(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "night.state")
    bench.load(IDS, name="{}-20270115-aaaaaa")
    cloud = alone({IDS[0]: ["lost"]})
    bench.run(cloud, settings=settings())
    check(bench, cloud)
    assert cloud.calls["set_image_metadata"] == 0
