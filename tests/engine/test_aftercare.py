"""What a person does after a bad night: reconcile ambiguous rows, clean up what failed exports left."""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from batchexport.engine import (
    Claims,
    Cleaned,
    Found,
    Reconciled,
    find_left_overs,
    reconcile_all,
    remove_left_overs,
)
from batchexport.errors import NotFoundError, RefusedError, StateInUseError, TransientError
from batchexport.model import Image, JobState, TargetKey, Volume
from batchexport.store import Abandoned
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import EPOCH, FakeCloud
from tests.engine.fast_time import fast_now, let_pass, run_fast
from tests.store.making import alter


def ambiguous(bench: Bench) -> tuple[FakeCloud, str]:
    """A row with two images."""
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["twice"]})
    bench.run(cloud)
    assert bench.states() == {volume_id: "ambiguous"}
    return cloud, volume_id


def reconcile(bench: Bench, cloud: Any, **claims: Any) -> list[Reconciled]:
    @contextlib.asynccontextmanager
    async def connect(key: TargetKey, rate: float | None) -> AsyncIterator[Any]:
        yield cloud

    async def go() -> list[Reconciled]:
        async with bench.open() as state:
            return await reconcile_all(state, connect, Claims(**claims), settle_s=30.0)

    return run_fast(go())


def test_two_images_stay_ambiguous_and_both_are_named(bench: Bench) -> None:
    cloud, volume_id = ambiguous(bench)
    (found,) = reconcile(bench, cloud)
    assert found.state is JobState.AMBIGUOUS
    assert all(image_id in found.reason for image_id in cloud.exports_of(volume_id))
    assert bench.states() == {volume_id: "ambiguous"}


def test_with_one_image_removed_the_row_goes_on_with_the_other(bench: Bench) -> None:
    cloud, volume_id = ambiguous(bench)
    first, second = cloud.exports_of(volume_id)
    del cloud.records[first]
    (found,) = reconcile(bench, cloud)
    assert found.state is JobState.EXPORTING
    bench.run(cloud)
    assert bench.jobs()[volume_id].image_id == second
    assert bench.states() == {volume_id: "succeeded"}
    assert len(cloud.posts) == 1


def test_with_all_images_removed_the_row_is_exported_anew(bench: Bench) -> None:
    cloud, volume_id = ambiguous(bench)
    cloud.records.clear()
    (found,) = reconcile(bench, cloud)
    assert found.state is JobState.PENDING
    bench.run(cloud)
    assert bench.states() == {volume_id: "succeeded"}
    assert len(cloud.posts) == 2


def test_a_person_may_say_which_image_is_the_result(bench: Bench) -> None:
    cloud, volume_id = ambiguous(bench)
    _, second = cloud.exports_of(volume_id)
    (found,) = reconcile(bench, cloud, ours=frozenset({second}))
    assert found.state is JobState.EXPORTING
    bench.run(cloud)
    assert bench.jobs()[volume_id].image_id == second
    assert len(cloud.posts) == 1


def test_a_person_may_say_that_images_are_somebody_elses(bench: Bench) -> None:
    cloud, volume_id = ambiguous(bench)
    theirs = cloud.exports_of(volume_id)
    (found,) = reconcile(bench, cloud, not_ours=frozenset(theirs[:1]))
    assert found.state is JobState.EXPORTING
    bench.run(cloud)
    assert bench.jobs()[volume_id].image_id == theirs[1]


def test_a_volume_none_of_whose_images_is_its_own_is_exported(bench: Bench) -> None:
    cloud, volume_id = ambiguous(bench)
    theirs = cloud.exports_of(volume_id)
    let_pass(60.0)  # until its volume is free
    (found,) = reconcile(bench, cloud, not_ours=frozenset(theirs))
    assert found.state is JobState.PENDING
    bench.run(cloud)
    assert bench.jobs()[volume_id].image_id not in theirs
    assert bench.states() == {volume_id: "succeeded"}


def test_without_ambiguous_rows_there_is_nothing_to_reconcile(bench: Bench) -> None:
    bench.load(volume_ids(2))
    cloud = FakeCloud()
    bench.run(cloud)
    assert reconcile(bench, cloud) == []


def left_over(bench: Bench, fault: str) -> tuple[FakeCloud, Abandoned]:
    """A row whose only attempt came to nothing."""
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: [fault]})
    bench.run(cloud, retries=0)
    assert bench.states() == {volume_id: "failed"}
    with bench.reader() as reader:
        (image,) = reader.abandoned()
    return cloud, image


def clean(bench: Bench, cloud: FakeCloud, image: Abandoned, *, remove: bool) -> Found:
    def now() -> float:
        return EPOCH + fast_now()

    async def go() -> list[Cleaned]:
        if not remove:
            return await find_left_overs(cloud, [image])
        return await remove_left_overs(cloud, image.target, [image], bench.path, run_id="r", now=now)

    (result,) = run_fast(go())
    return result.found


def removals(bench: Bench) -> list[tuple[str, str | None]]:
    with bench.reader() as reader:
        return [(each.image_id, each.outcome) for each in reader.removals()]


@pytest.mark.parametrize("fault", ["orphan", "killed"])
def test_an_unfinished_image_is_shown_first_and_removed_only_when_asked(bench: Bench, fault: str) -> None:
    cloud, image = left_over(bench, fault)
    assert clean(bench, cloud, image, remove=False) is Found.LEFT_OVER
    assert image.image_id in cloud.records
    assert removals(bench) == []
    assert clean(bench, cloud, image, remove=True) is Found.REMOVED
    assert removals(bench) == [(image.image_id, "removed")]
    assert image.image_id not in cloud.records
    assert clean(bench, cloud, image, remove=True) is Found.GONE


def test_an_image_that_the_cloud_removed_itself_is_told_as_gone(bench: Bench) -> None:
    cloud, image = left_over(bench, "fails")
    assert clean(bench, cloud, image, remove=True) is Found.GONE


def test_an_image_that_turned_active_after_all_is_never_removed(bench: Bench) -> None:
    cloud, image = left_over(bench, "orphan")
    cloud.records[image.image_id]["active_at"] = cloud.server_now_s()
    assert clean(bench, cloud, image, remove=True) is Found.KEPT
    assert image.image_id in cloud.records


def test_an_image_whose_volume_is_uploading_is_never_removed(bench: Bench) -> None:
    cloud, image = left_over(bench, "orphan")
    cloud.statuses[image.volume_id] = "uploading"
    assert clean(bench, cloud, image, remove=True) is Found.KEPT


@pytest.mark.parametrize("status", ["uploading", None])
def test_an_image_whose_volume_is_listed_as_uploading_is_never_removed(
    bench: Bench, status: str | None
) -> None:
    """The volume by its id is behind, or not found at all."""
    cloud, image = left_over(bench, "orphan")
    cloud.statuses[image.volume_id] = "uploading"

    async def volume(volume_id: str) -> Volume | None:
        return Volume(volume_id=volume_id, status="available") if status else None

    cloud.get_volume = volume
    assert clean(bench, cloud, image, remove=True) is Found.KEPT
    assert image.image_id in cloud.records


def test_an_image_that_is_listed_as_active_is_never_removed(bench: Bench) -> None:
    cloud, image = left_over(bench, "orphan")
    behind = run_fast(cloud.get_image(image.image_id))
    cloud.records[image.image_id]["active_at"] = cloud.server_now_s()

    async def by_id(image_id: str) -> Image | None:
        return behind

    cloud.get_image = by_id
    assert clean(bench, cloud, image, remove=True) is Found.KEPT
    assert image.image_id in cloud.records


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (RefusedError("image is protected"), Found.STUCK),
        (TransientError("bad gateway"), Found.STUCK),
        (NotFoundError("gone"), Found.GONE),
    ],
)
def test_an_image_that_cannot_be_removed_is_told_with_the_words_of_the_cloud(
    bench: Bench, error: RefusedError, found: Found
) -> None:
    cloud, image = left_over(bench, "orphan")
    cloud.delete_error = error
    assert clean(bench, cloud, image, remove=True) is found


def test_images_of_rows_that_succeeded_later_are_offered_without_the_good_one(bench: Bench) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["killed"]})
    bench.run(cloud)
    let_pass(1.0)
    killed, good = cloud.exports_of(volume_id)
    with bench.reader() as reader:
        assert [image.image_id for image in reader.abandoned()] == [killed]
    assert bench.jobs()[volume_id].image_id == good


def test_nothing_is_removed_while_another_process_works_on_the_state_file(bench: Bench) -> None:
    cloud, image = left_over(bench, "orphan")

    async def beside() -> None:
        async with bench.open() as state:
            work = await state.take(1)
            try:
                with pytest.raises(StateInUseError):
                    await remove_left_overs(
                        cloud, image.target, [image], bench.path, run_id="r", now=time.time
                    )
            finally:
                await work.release()

    run_fast(beside())
    assert image.image_id in cloud.records


def test_an_image_that_another_row_names_as_its_own_is_no_left_over(bench: Bench) -> None:
    ids = volume_ids(2)
    bench.load(ids)
    cloud = FakeCloud(faults={ids[0]: ["orphan"]})
    bench.run(cloud, retries=0)
    with bench.reader() as reader:
        (image,) = reader.abandoned()
    alter(bench.path, f"UPDATE job SET image_id = '{image.image_id}' WHERE state = 'succeeded'")
    with bench.reader() as reader:
        assert reader.abandoned() == []
