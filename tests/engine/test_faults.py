"""The three kinds of failure: nothing happened, refused, and nobody knows."""

from collections.abc import Callable
from typing import Any

import pytest

from batchexport.errors import RunStoppedError, ThrottledError, TransientError
from batchexport.model import Accepted, ExportRequest
from batchexport.store import JobReport
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import FakeCloud


def one(bench: Bench, *faults: str, **settings: Any) -> tuple[FakeCloud, JobReport]:
    """Run a list of one volume through these faults."""
    bench.load(volume_ids(1))
    cloud = FakeCloud(faults={volume_ids(1)[0]: faults})
    bench.run(cloud, **settings)
    return cloud, bench.jobs()[volume_ids(1)[0]]


def test_a_lost_answer_is_never_sent_again_and_its_image_is_adopted(bench: Bench) -> None:
    cloud, job = one(bench, "lost")
    assert (str(job.state), job.attempts) == ("succeeded", 1)
    assert len(cloud.posts) == 1
    assert cloud.exports_of(job.volume_id) == [job.image_id]


def test_a_request_lost_on_its_way_is_sent_again_after_the_settling_time(bench: Bench) -> None:
    cloud, job = one(bench, "lost before", settle_s=30.0)
    assert str(job.state) == "succeeded"
    (first, _), (second, _) = cloud.posts
    assert second - first >= 30.0
    assert len(cloud.exports_of(job.volume_id)) == 1


def test_a_request_that_the_cloud_carries_out_late_is_still_found(bench: Bench) -> None:
    cloud, job = one(bench, "late", settle_s=30.0)
    assert (str(job.state), len(cloud.posts)) == ("succeeded", 1)
    assert cloud.exports_of(job.volume_id) == [job.image_id]


def test_two_images_are_left_to_a_person_and_neither_is_touched(bench: Bench) -> None:
    cloud, job = one(bench, "twice")
    assert str(job.state) == "ambiguous"
    assert all(image_id in (job.reason or "") for image_id in cloud.exports_of(job.volume_id))
    assert len(cloud.posts) == 1


def test_many_lost_answers_are_settled_with_two_lists(bench: Bench) -> None:
    ids = volume_ids(40)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["lost"] for volume_id in ids})
    bench.run(cloud, concurrency=40, max_exports=40)
    assert set(bench.states().values()) == {"succeeded"}
    assert len(cloud.posts) == 40
    assert cloud.calls["volume"] + cloud.calls["images_named"] <= 8


def test_an_export_that_fails_is_tried_again_with_the_reason_kept(bench: Bench) -> None:
    cloud, job = one(bench, "fails")
    assert (str(job.state), job.attempts) == ("succeeded", 2)
    assert len(cloud.live_images_of(job.volume_id)) == 1
    with bench.reader() as reader:
        first, second = [each for each in reader.attempts() if each.job_id == job.job_id]
    assert "failed at backend" in (first.reason or "")
    assert first.code == "image_gone"
    assert second.image_id == job.image_id


@pytest.mark.parametrize(
    ("fault", "code"), [("fails", "image_gone"), ("killed", "image_dead"), ("orphan", "image_orphaned")]
)
def test_an_export_that_keeps_failing_fails_with_the_number_of_attempts(
    bench: Bench, fault: str, code: str
) -> None:
    cloud, job = one(bench, *[fault] * 3, retries=2)
    assert (str(job.state), job.attempts, job.code) == ("failed", 3, code)
    assert "attempt 3 of 3" in (job.reason or "")
    assert len(cloud.posts) == 3


def test_an_unfinished_image_is_deleted_before_another_attempt_and_not_taken_for_its_own(
    bench: Bench,
) -> None:
    cloud, job = one(bench, "orphan", "lost")
    assert (str(job.state), job.attempts) == ("succeeded", 2)
    assert cloud.deleted == ["image-1"]
    assert cloud.exports_of(job.volume_id) == [job.image_id] == ["image-2"]


def test_a_lost_answer_of_an_export_that_fails_is_adopted_and_then_tried_again(bench: Bench) -> None:
    cloud, job = one(bench, "lost and fails")
    assert (str(job.state), job.attempts) == ("succeeded", 2)
    assert len(cloud.live_images_of(job.volume_id)) == 1


def test_a_volume_that_somebody_else_exports_is_waited_for(bench: Bench) -> None:
    ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud()
    cloud.accept_elsewhere(ids[0], name="somebody else's")
    bench.run(cloud)
    assert bench.states() == {ids[0]: "succeeded"}
    assert bench.jobs()[ids[0]].image_id == cloud.exports_of(ids[0])[1]


def test_throttling_uses_up_no_attempt(bench: Bench) -> None:
    _, job = one(bench, *["throttled"] * 9, retries=1)
    assert (str(job.state), job.attempts) == ("succeeded", 1)


def test_a_cloud_that_is_away_for_a_while_fails_no_row(bench: Bench) -> None:
    ids = volume_ids(10)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["unreachable"] * 4 for volume_id in ids})
    bench.run(cloud, retries=0, concurrency=2)
    assert set(bench.states().values()) == {"succeeded"}


def test_a_service_that_is_down_for_all_rows_fails_none(bench: Bench) -> None:
    ids = volume_ids(10)
    bench.load(ids)
    cloud = FakeCloud()
    cloud.down_for(600.0)
    bench.run(cloud, retries=0, concurrency=4)
    assert set(bench.states().values()) == {"succeeded"}
    assert {job.attempts for job in bench.jobs().values()} == {1}


def test_a_row_that_alone_finds_the_service_down_fails_in_the_end(bench: Bench) -> None:
    ids = volume_ids(8)
    bench.load(ids)
    cloud = FakeCloud(faults={ids[0]: ["unavailable"] * 100})
    bench.run(cloud, retries=2, max_exports=1)
    assert [str(bench.jobs()[volume_id].state) for volume_id in ids[1:]] == ["succeeded"] * 7
    assert bench.states()[ids[0]] == "failed"
    assert "attempt 3 of 3" in (bench.jobs()[ids[0]].reason or "")


def test_a_cloud_that_stays_away_ends_the_run_and_loses_nothing(bench: Bench) -> None:
    ids = volume_ids(3)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["unreachable"] * 100_000 for volume_id in ids})
    with pytest.raises(RunStoppedError, match="accepted no request for"):
        bench.run(cloud)
    assert set(bench.states().values()) == {"pending"}


def test_rows_left_in_doubt_by_a_crash_are_settled_before_anything_is_sent_for_them(bench: Bench) -> None:
    """A killed process leaves rows `submitting`: one was sent, one was not."""
    ids = volume_ids(2)
    bench.load(ids)
    cloud = FakeCloud()
    bench.crash_while_submitting(cloud, sent=[ids[0]])
    bench.run(cloud, settle_s=30.0)
    assert bench.states() == {ids[0]: "succeeded", ids[1]: "succeeded"}
    assert [len(cloud.exports_of(volume_id)) for volume_id in ids] == [1, 1]
    assert len(cloud.posts) == 2


def test_an_unreadable_cloud_leaves_exports_watched(bench: Bench) -> None:
    ids = volume_ids(2)
    bench.load(ids)
    cloud = FakeCloud()
    cloud.broken_reads = 5
    bench.run(cloud)
    assert set(bench.states().values()) == {"succeeded"}


@pytest.mark.parametrize("error", [TransientError, ThrottledError])
def test_a_cloud_that_asks_for_days_is_asked_again_within_the_hour(bench: Bench, error: type[Any]) -> None:
    """A wrong date in `Retry-After` is no reason to send nothing until then."""
    ids = volume_ids(3)
    bench.load(ids)
    cloud = FakeCloud()
    left = [error("later", status=503, retry_after_s=172_800.0) for _ in ids]
    take = cloud.upload_volume_to_image

    async def upload_volume_to_image(request: ExportRequest, *, fence: Callable[..., Any]) -> Accepted:
        if left:
            fence()
            raise left.pop()
        return await take(request, fence=fence)

    cloud.upload_volume_to_image = upload_volume_to_image
    began = cloud.server_now_s()
    bench.run(cloud)
    assert set(bench.states().values()) == {"succeeded"}
    assert cloud.server_now_s() - began < 2 * 3600.0
