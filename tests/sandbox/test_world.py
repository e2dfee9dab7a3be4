from __future__ import annotations

import msgspec
import pytest

from batchexport.sandbox import Faults, SandboxSettings, SandboxVolume
from batchexport.sandbox.outcome import Outcome, export_outcome, pseudo_random
from batchexport.sandbox.world import Deletion, Export, World, image_status, synthetic_volume, without_image
from tests.sandbox.asking import OTHER_VOLUME, VOLUME

EXPORT = Export(
    volume_id=VOLUME,
    volume_name="a-volume",
    size_gib=100,
    status_before="available",
    image_id="image-1",
    image_name="an-image",
    disk_format="raw",
    container_format="bare",
    visibility="private",
    protected=False,
    os_type=None,
    request_id="req-1",
    accepted_at=100.0,
    saving_at=110.0,
    ends_at=200.0,
    free_at=210.0,
    fails=False,
)
FAILING = msgspec.structs.replace(EXPORT, fails=True)


def world_of(*events: Export | Deletion) -> World:
    world = World()
    for event in events:
        world.apply(event)
    return world


def volume_status(world: World, now: float, volume_id: str = VOLUME) -> str:
    view = world.volume(volume_id, now)
    assert view is not None
    return view.status


@pytest.mark.parametrize(
    ("now", "status"),
    [(100.0, "queued"), (110.0, "saving"), (199.9, "saving"), (200.0, "active"), (9e9, "active")],
)
def test_an_image_is_queued_then_saving_then_active(now: float, status: str) -> None:
    assert image_status(EXPORT, now) == status


def test_the_volume_is_free_a_little_after_the_image_is_active() -> None:
    world = world_of(EXPORT)
    assert [volume_status(world, now) for now in (100.0, 200.0, 209.9, 210.0)] == [
        "uploading",
        "uploading",
        "uploading",
        "available",
    ]


def test_a_failed_export_leaves_no_image_and_an_available_volume() -> None:
    world = world_of(FAILING)
    assert image_status(FAILING, 199.0) == "saving"
    assert world.image("image-1", 200.0) is None
    assert volume_status(world, 210.0) == "available"
    assert list(world.failed_exports(209.0)) == []
    assert list(world.failed_exports(210.0)) == [FAILING]


def test_a_forced_export_gives_a_volume_its_status_back() -> None:
    world = World([SandboxVolume(volume_id=VOLUME, name="v", status="in-use")])
    world.apply(msgspec.structs.replace(EXPORT, status_before="in-use"))
    assert volume_status(world, 150.0) == "uploading"
    assert volume_status(world, 210.0) == "in-use"


def test_deleting_an_image_that_is_saving_makes_its_export_fail_at_once() -> None:
    world = world_of(EXPORT, Deletion(image_id="image-1", deleted_at=150.0))
    assert world.image("image-1", 150.0) is None
    assert volume_status(world, 159.9) == "uploading"
    assert volume_status(world, 160.0) == "available"


def test_deleting_an_active_image_is_no_failure() -> None:
    world = world_of(EXPORT, Deletion(image_id="image-1", deleted_at=205.0))
    assert image_status(without_image(EXPORT, 205.0), 204.0) == "active"
    assert world.image("image-1", 205.0) is None
    assert list(world.failed_exports(9e9)) == []


def test_deleting_an_unknown_image_changes_nothing() -> None:
    world = world_of(EXPORT, Deletion(image_id="another", deleted_at=150.0))
    assert [view.export for view in world.images(150.0)] == [EXPORT]


def test_the_time_of_the_last_change_follows_the_stages() -> None:
    world = world_of(EXPORT)
    found = [world.image("image-1", now) for now in (105.0, 150.0, 300.0)]
    assert [view.updated_at for view in found if view is not None] == [100.0, 110.0, 200.0]


def test_the_latest_export_of_a_volume_decides_its_status() -> None:
    again = msgspec.structs.replace(
        EXPORT, image_id="image-2", accepted_at=300.0, saving_at=310.0, ends_at=400.0, free_at=410.0
    )
    world = world_of(EXPORT, again)
    assert volume_status(world, 305.0) == "uploading"
    assert volume_status(world, 410.0) == "available"
    assert world.exports_of(VOLUME) == 2
    assert world.exports_per_volume() == {VOLUME: 2}


def test_images_are_listed_in_either_order_and_from_behind_one() -> None:
    world = world_of(*(msgspec.structs.replace(EXPORT, image_id=f"image-{n}") for n in range(4)))

    def listed(*, newest_first: bool, after: str) -> list[str]:
        return [view.export.image_id for view in world.images(500.0, newest_first=newest_first, after=after)]

    assert listed(newest_first=True, after="image-2") == ["image-1", "image-0"]
    assert listed(newest_first=False, after="image-1") == ["image-2", "image-3"]


def test_a_made_up_volume_is_always_the_same() -> None:
    volume = synthetic_volume(VOLUME)
    assert volume is not None
    assert volume == synthetic_volume(VOLUME)
    assert 10 <= volume.size_gib <= 500
    assert volume != synthetic_volume(OTHER_VOLUME)


@pytest.mark.parametrize("volume_id", ["", "vol-7", VOLUME.upper(), VOLUME.replace("-", ""), f"{{{VOLUME}}}"])
def test_only_a_uuid_in_its_usual_spelling_names_a_made_up_volume(volume_id: str) -> None:
    assert synthetic_volume(volume_id) is None


def test_without_making_up_only_given_volumes_exist() -> None:
    world = World([SandboxVolume(volume_id=VOLUME, name="v")], synthetic_volumes=False)
    assert volume_status(world, 0.0) == "available"
    assert world.volume(OTHER_VOLUME, 0.0) is None


def fate_of(settings: SandboxSettings, *, disk_format: str = "raw", earlier: int = 0) -> Outcome:
    return export_outcome(
        settings, volume_id=VOLUME, size_gib=100, disk_format=disk_format, earlier=earlier, now=0.0
    )


def test_a_hundred_gib_take_about_four_seconds() -> None:
    assert fate_of(SandboxSettings()).ends_at == pytest.approx(4.0)


def test_a_converted_image_stays_queued_for_longer() -> None:
    settings = SandboxSettings()
    assert fate_of(settings, disk_format="qcow2").saving_at > fate_of(settings).saving_at


def test_a_time_scale_of_zero_ends_an_export_at_once() -> None:
    outcome = fate_of(SandboxSettings(time_scale=0.0))
    assert (outcome.saving_at, outcome.ends_at, outcome.free_at) == (0.0, 0.0, 0.0)


def test_a_slow_export_takes_as_many_times_as_long_as_said() -> None:
    slow = SandboxSettings(faults=Faults(slow_share=1.0, slow_factor=3.0))
    assert fate_of(slow).ends_at == pytest.approx(12.0)


def test_the_same_seed_chooses_the_same_victims() -> None:
    settings = SandboxSettings(faults=Faults(fail_share=0.5, seed=7))
    fates = [fate_of(settings, earlier=n).fails for n in range(40)]
    assert fates == [fate_of(settings, earlier=n).fails for n in range(40)]
    assert set(fates) == {True, False}


def test_draws_are_spread_evenly() -> None:
    draws = [pseudo_random(1, "x", number) for number in range(2000)]
    assert all(0.0 <= one < 1.0 for one in draws)
    assert sum(one < 0.25 for one in draws) == pytest.approx(500, abs=75)
