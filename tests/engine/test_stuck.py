"""Exports that can no longer come true end, with the way out; those that still move are watched."""

from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.config import InUse, Limits, Settings
from batchexport.errors import QuotaError
from batchexport.model import ExportRequest, Image, ImageOptions, JobState
from batchexport.report.actions import unfinished_images
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_servers import ServedCloud
from tests.engine.fast_time import run_fast

IDS = volume_ids(3)
LIMITS = Limits(poll_interval_s=10.0)
STOP = Settings(in_use=InUse.STOP, limits=LIMITS)
TEN_MINUTES = ImageOptions(timeout_s=600.0)
NEVER = float("inf")


class StuckCloud(ServedCloud):
    """The copies of these volumes lose their writer: the volume stays `uploading`, the image as it is."""

    def __init__(
        self,
        stuck: set[str],
        attached: dict[str, Any] | None = None,
        *,
        status: str = "queued",
        grows: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(attached or {}, **options)
        self.stuck, self.status, self.grows = set(stuck), status, grows

    def _accept(self, request: ExportRequest, at: float, fault: str | None = None) -> str:
        image_id = super()._accept(request, at, fault)
        if request.volume_id in self.stuck:
            self.records[image_id] |= {"active_at": None, "free_at": NEVER, "stuck": self.status}
            if self.status == "gone":
                self.records[image_id] |= {"gone_at": at + 1.0, "stuck": None}
        return image_id

    def _image(self, image_id: str, now: float) -> Image | None:
        image = super()._image(image_id, now)
        if image is not None and self.grows and image.status != "active":
            return replace(image, size_bytes=int(now))
        return image

    def reset_by_administrator(self) -> None:
        for record in self.records.values():
            record["free_at"] = min(record["free_at"], self.server_now_s())


@pytest.mark.parametrize("status", ["queued", "saving", "killed", "gone"])
def test_an_export_that_no_longer_moves_ends_with_the_way_out(bench: Bench, status: str) -> None:
    bench.load(IDS, options=TEN_MINUTES)
    cloud = StuckCloud({IDS[0]}, {IDS[0]: ["a"]}, status=status)
    bench.run(cloud, settings=STOP)
    assert bench.states() == {IDS[0]: "failed", IDS[1]: "succeeded", IDS[2]: "succeeded"}
    job = bench.jobs()[IDS[0]]
    assert job.code == "export_stuck"
    assert job.image_id == cloud.exports_of(IDS[0])[0]
    assert f"openstack volume set --state available {IDS[0]}" in (job.reason or "")
    assert status in (job.reason or "")
    assert len(cloud.posts) == 3
    with bench.reader() as reader:
        assert unfinished_images(reader.abandoned()) == 1


def test_an_export_that_is_merely_slow_is_watched_past_its_deadline(bench: Bench) -> None:
    bench.load(IDS[:1], options=TEN_MINUTES)
    cloud = StuckCloud(set(), grows=True, upload_s=2000.0)
    bench.run(cloud, settings=STOP)
    assert bench.states() == {IDS[0]: "succeeded"}


def test_a_stuck_export_is_not_sent_again_while_its_volume_is_uploading(bench: Bench) -> None:
    bench.load(IDS[:1], options=TEN_MINUTES)
    cloud = StuckCloud({IDS[0]})
    bench.run(cloud, settings=STOP)
    retry(bench)
    bench.run(cloud, settings=STOP)
    assert (bench.states(), len(cloud.exports_of(IDS[0]))) == ({IDS[0]: "failed"}, 1)
    cloud.stuck.clear()
    cloud.reset_by_administrator()
    retry(bench)
    bench.run(cloud, settings=STOP)
    assert (bench.states(), len(cloud.good_images_of(IDS[0]))) == ({IDS[0]: "succeeded"}, 1)


def test_the_image_of_a_stuck_export_that_came_alive_meanwhile_is_its_result(bench: Bench) -> None:
    bench.load(IDS[:1], options=TEN_MINUTES)
    cloud = StuckCloud({IDS[0]})
    bench.run(cloud, settings=STOP)
    (image_id,) = cloud.exports_of(IDS[0])
    cloud.records[image_id] |= {"active_at": cloud.server_now_s(), "free_at": cloud.server_now_s()}
    retry(bench)
    bench.run(cloud, settings=STOP)
    assert bench.states() == {IDS[0]: "succeeded"}
    assert (bench.jobs()[IDS[0]].image_id, len(cloud.posts)) == (image_id, 1)


def test_a_volume_that_somebody_else_exports_for_ever_ends_its_row(bench: Bench) -> None:
    bench.load(IDS[:1], options=TEN_MINUTES)
    cloud = StuckCloud(set())
    cloud.accept_elsewhere(IDS[0], name="somebody else's")
    for record in cloud.records.values():
        record |= {"active_at": None, "free_at": NEVER}
    bench.run(cloud, settings=STOP)
    job = bench.jobs()[IDS[0]]
    assert job.state in (JobState.FAILED, JobState.AMBIGUOUS)
    assert "uploading" in (job.reason or "") or "exported" in (job.reason or "")


def test_copies_that_find_no_room_stop_the_run_before_all_have_tried(bench: Bench) -> None:
    ids = volume_ids(30)
    bench.load(ids)
    cloud = StuckCloud(set(), faults={volume_id: ["fails"] * 5 for volume_id in ids})

    async def failure_reason(volume_id: str, request_id: str | None) -> str | None:
        return "copy volume to image: Not enough quota resource for operation."

    cloud.failure_reason = failure_reason
    with pytest.raises(QuotaError, match="Not enough quota"):
        bench.run(cloud, max_exports=5)
    assert len(cloud.posts) <= 15
    assert "failed" not in bench.states().values()


def test_copies_that_find_no_room_now_and_then_stop_no_run(bench: Bench) -> None:
    ids = volume_ids(8)
    bench.load(ids)
    cloud = StuckCloud(set(), faults={volume_id: ["fails"] for volume_id in ids[::2]})

    async def failure_reason(volume_id: str, request_id: str | None) -> str | None:
        return "copy volume to image: Not enough quota resource for operation."

    cloud.failure_reason = failure_reason
    bench.run(cloud, max_exports=1)
    assert set(bench.states().values()) == {"succeeded"}


def retry(bench: Bench) -> None:
    async def go() -> None:
        async with bench.open() as state:
            work = await state.take(1)
            await work.retry()
            await work.release()

    run_fast(go())


def test_images_that_were_removed_or_came_to_something_are_not_called_unfinished(bench: Bench) -> None:
    bench.load(IDS)
    cloud = StuckCloud(set(), faults={IDS[0]: ["fails"], IDS[1]: ["killed"]})
    bench.run(cloud, settings=STOP)
    assert set(bench.states().values()) == {"succeeded"}
    with bench.reader() as reader:
        assert unfinished_images(reader.abandoned()) == 1
