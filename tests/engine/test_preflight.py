"""A run looks at its volumes first: what cannot go ends without a request, and nothing else changes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.config import InUse, Limits, MaxFailures, Settings
from batchexport.engine.decide import SIZE_UNVERIFIED
from batchexport.errors import FatalError, NotFoundError, RunStoppedError, TransientError
from batchexport.model import (
    Accepted,
    ExportRequest,
    Image,
    ImageDetails,
    ImageOptions,
    ImageQuota,
    Volume,
    VolumeDetails,
)
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import FakeCloud

IDS = volume_ids(4)
POLL = Limits(poll_interval_s=5.0)


class ListingCloud(FakeCloud):
    """Lists every volume of the list, whether it was exported or not."""

    quota: ImageQuota | None = None
    refusal: Exception | None = None

    async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Volume]]:
        self._read("volumes")
        if self.refusal and status is None:
            raise self.refusal
        now = self.server_now_s()
        listed = [volume for volume_id in IDS if (volume := self._volume(volume_id, now))]
        yield [volume for volume in listed if status in (None, volume.status)]

    async def get_quota(self) -> Any:
        return self.quota


def reasons(bench: Bench) -> dict[str, tuple[str | None, str | None]]:
    return {volume_id: (job.code, job.reason) for volume_id, job in bench.jobs().items()}


def test_rows_that_cannot_go_are_failed_and_nothing_is_sent_for_them(bench: Bench) -> None:
    bench.load(IDS)
    cloud = ListingCloud(statuses={IDS[0]: "error", IDS[1]: "in-use", IDS[2]: None})
    changes = bench.run(cloud)
    assert list(bench.states().values()) == ["failed", "failed", "failed", "succeeded"]
    assert [volume_id for _, volume_id in cloud.posts] == [IDS[3]]
    assert [bench.jobs()[volume_id].code for volume_id in IDS[:3]] == [
        "volume_status",
        "in_use",
        "volume_not_found",
    ]
    assert bench.jobs()[IDS[0]].reason.startswith("not sent: the volume is error")
    assert bench.jobs()[IDS[0]].attempts == 0
    assert (IDS[0], "pending", "failed") in changes


def test_rows_to_be_left_out_are_skipped(bench: Bench) -> None:
    bench.load(IDS)
    cloud = ListingCloud(statuses={IDS[0]: "in-use"})
    bench.run(cloud, settings=Settings(limits=POLL, in_use=InUse.SKIP))
    assert bench.states()[IDS[0]] == "skipped"
    assert len(cloud.posts) == 3


def test_without_a_preflight_the_cloud_has_the_word(bench: Bench) -> None:
    bench.load(IDS)
    cloud = ListingCloud(statuses={IDS[0]: "error"})
    bench.run(cloud, settings=Settings(limits=POLL, preflight=False))
    assert bench.states()[IDS[0]] == "failed"
    assert len(cloud.posts) == 4


def test_the_sizes_are_known_before_the_first_request(bench: Bench) -> None:
    bench.load(IDS)
    cloud = ListingCloud()
    sizes = []
    bench.run(cloud, on_change=lambda job, before, after: sizes.append((before, job.size_gib)))
    assert [size for before, size in sizes if before == "pending"] == [10] * 4


@pytest.mark.parametrize("error", [TransientError("bad gateway"), FatalError("may not list", status=403)])
def test_where_the_list_is_refused_the_run_goes_on_without(
    bench: Bench, error: TransientError | FatalError, caplog: pytest.LogCaptureFixture
) -> None:
    bench.load(IDS)
    cloud = ListingCloud()
    cloud.refusal = error
    bench.run(cloud)
    assert set(bench.states().values()) == {"succeeded"}
    assert f"cannot check the volumes first ({error})" in caplog.text


def test_rows_tried_before_are_not_looked_at_again(bench: Bench) -> None:
    bench.load(IDS)
    cloud = ListingCloud(faults={volume_id: ["fails"] for volume_id in IDS})
    bench.run(cloud, stop_when=lambda changes: any(after == "exporting" for _, _, after in changes))
    pages = cloud.calls["volumes"]
    cloud.statuses = dict.fromkeys(IDS, "error")
    assert pages
    bench.run(cloud)
    assert all(attempts for attempts in (job.attempts for job in bench.jobs().values()))


def test_too_many_rows_that_cannot_go_stop_the_run(bench: Bench) -> None:
    bench.load(IDS)
    cloud = ListingCloud(statuses=dict.fromkeys(IDS[:3], "error"))
    with pytest.raises(RunStoppedError, match="2 failed rows"):
        bench.run(cloud, max_failures=MaxFailures(count=2))
    assert cloud.posts == []


def test_a_quota_that_is_too_small_is_told_and_left_to_the_cloud(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.load(IDS)
    cloud = ListingCloud()
    cloud.quota = ImageQuota(allowed=50, used=47)
    bench.run(cloud)
    assert "4 rows to export, but the project may have 50 images and has 47" in caplog.text
    assert set(bench.states().values()) == {"succeeded"}


def test_a_quota_with_room_is_not_worth_a_word(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.load(IDS)
    cloud = ListingCloud()
    cloud.quota = ImageQuota(allowed=50, used=46)
    bench.run(cloud)
    assert "images" not in caplog.text


def test_a_stop_ends_the_preflight(bench: Bench) -> None:
    bench.load(IDS)

    class SlowCloud(ListingCloud):
        async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Volume]]:
            async for page in super().volumes(status=status):
                stop()
                yield page
                await asyncio.Event().wait()

    told = []

    def stop() -> None:
        told.append(True)

    cloud = SlowCloud(statuses={IDS[0]: "error"})
    bench.run(cloud, stop_when=lambda changes: bool(told))
    assert list(bench.states().values()) == ["failed", "pending", "pending", "pending"]
    assert cloud.posts == []


class TellingCloud(ListingCloud):
    """Tells what its images hold."""

    details = ImageDetails(disk_format="raw", container_format="bare", hash="sha512:00ff")

    def _image(self, image_id: str, now: float) -> Image | None:
        found = super()._image(image_id, now)
        return None if found is None else replace(found, details=self.details)


def test_the_hash_of_an_image_is_recorded_when_it_turns_active(bench: Bench) -> None:
    bench.load(IDS)
    bench.run(TellingCloud())
    assert {job.image_hash for job in bench.jobs().values()} == {"sha512:00ff"}
    assert {job.reason for job in bench.jobs().values()} == {SIZE_UNVERIFIED}


def test_an_image_in_another_format_than_asked_for_is_told_with_its_success(bench: Bench) -> None:
    bench.load(IDS, options=ImageOptions(disk_format="qcow2"))
    bench.run(TellingCloud())
    assert set(bench.states().values()) == {"succeeded"}
    job = bench.jobs()[IDS[0]]
    assert (job.code, job.reason) == ("image_format", "active, but its disk format is raw, asked was qcow2")


def test_a_volume_that_is_listed_with_details_is_judged_by_them(bench: Bench) -> None:
    bench.load(IDS[:2])

    class Encrypted(ListingCloud):
        def _volume(self, volume_id: str, now: float) -> Volume:
            found = super()._volume(volume_id, now)
            return Volume(
                volume_id=volume_id, status=found.status, size_gib=10, details=VolumeDetails(encrypted=True)
            )

    bench.run(Encrypted(), settings=Settings(limits=POLL, image=ImageOptions(disk_format="qcow2")))
    assert {job.code for job in bench.jobs().values()} == {"encrypted"}


@pytest.mark.parametrize("back_in", ["list", "id"])
def test_a_volume_that_was_missing_once_is_exported(bench: Bench, back_in: str) -> None:
    """The list and the read by id came from a replica that was behind; one of them has caught up."""
    bench.load(IDS)

    class Behind(ListingCloud):
        async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Volume]]:
            async for page in super().volumes(status=status):
                shown = back_in == "list" and self.calls["volume"] > 0
                yield page if shown or status else [each for each in page if each.volume_id != IDS[1]]

        async def get_volume(self, volume_id: str) -> Any:
            found = await super().get_volume(volume_id)
            behind = (
                volume_id == IDS[1] and (back_in == "list" or self.calls["volume"] < 2) and not self.posts
            )
            return None if behind else found

    cloud = Behind()
    bench.run(cloud)
    assert set(bench.states().values()) == {"succeeded"}
    assert len(cloud.posts) == 4


def test_one_answer_that_there_is_no_such_volume_ends_no_row(bench: Bench) -> None:
    bench.load(IDS)

    class Once(ListingCloud):
        async def upload_volume_to_image(
            self, request: ExportRequest, *, fence: Callable[..., Any]
        ) -> Accepted:
            fence()
            if not self.calls["missed"]:
                self.calls["missed"] += 1
                raise NotFoundError("Volume could not be found.", method="POST", status=404)
            return await super().upload_volume_to_image(request, fence=fence)

    cloud = Once()
    bench.run(cloud)
    assert set(bench.states().values()) == {"succeeded"}
