"""The engine from the list to the images, with nothing or little going wrong."""

import pytest

from batchexport.config import InUse, Limits, MaxFailures, Settings
from batchexport.engine.decide import SIZE_UNVERIFIED
from batchexport.errors import FatalError, RunStoppedError
from batchexport.model import Job, JobState, TargetKey
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import FakeCloud


def test_every_volume_gets_one_image_and_the_file_knows_its_id(bench: Bench) -> None:
    ids = volume_ids(30)
    bench.load(ids)
    cloud = FakeCloud()
    bench.run(cloud)
    for volume_id, job in bench.jobs().items():
        assert job.state is JobState.SUCCEEDED
        assert cloud.exports_of(volume_id) == [job.image_id]
        assert (job.size_gib, job.attempts, job.reason) == (10, 1, SIZE_UNVERIFIED)
    assert len(cloud.posts) == 30


def test_rows_go_in_the_order_of_the_list(bench: Bench) -> None:
    ids = volume_ids(12)
    bench.load(ids)
    cloud = FakeCloud()
    bench.run(cloud, concurrency=1)
    assert [volume_id for _, volume_id in cloud.posts] == ids


def test_no_more_exports_are_in_progress_than_asked_for(bench: Bench) -> None:
    bench.load(volume_ids(40))
    cloud = FakeCloud(image_lag_s=0.0)
    bench.run(cloud, max_exports=7)
    assert cloud.most_in_progress == 7
    assert set(bench.states().values()) == {"succeeded"}


def test_watching_costs_looks_and_not_jobs(bench: Bench) -> None:
    bench.load(volume_ids(200))
    cloud = FakeCloud(upload_s=100.0)
    bench.run(cloud, max_exports=200, concurrency=200, poll_interval_s=10.0)
    assert set(bench.states().values()) == {"succeeded"}
    reads = cloud.total_reads()
    assert reads <= 2 * 12 + 2, cloud.calls


def test_without_waiting_the_run_ends_when_all_is_accepted_and_the_next_one_watches(bench: Bench) -> None:
    bench.load(volume_ids(5))
    cloud = FakeCloud()
    bench.run(cloud, settings=Settings(wait=False))
    assert set(bench.states().values()) == {"exporting"}
    bench.run(cloud)
    assert set(bench.states().values()) == {"succeeded"}
    assert len(cloud.posts) == 5


def test_a_drain_starts_nothing_more_and_the_next_run_finishes(bench: Bench) -> None:
    bench.load(volume_ids(20))
    cloud = FakeCloud()
    bench.run(cloud, concurrency=2, stop_when=lambda changes: len(changes) >= 10)
    states = list(bench.states().values())
    assert "submitting" not in states
    assert 0 < states.count("exporting") < 20
    assert states.count("exporting") + states.count("pending") == 20
    bench.run(cloud)
    assert set(bench.states().values()) == {"succeeded"}
    assert all(len(cloud.exports_of(volume_id)) == 1 for volume_id in volume_ids(20))


def test_rows_held_back_by_a_drain_have_not_used_up_an_attempt(bench: Bench) -> None:
    bench.load(volume_ids(20))
    bench.run(FakeCloud(), concurrency=20, stop_when=lambda changes: True)
    assert all(job.attempts <= 1 for job in bench.jobs().values())
    assert sum(job.attempts for job in bench.jobs().values()) == list(bench.states().values()).count(
        "exporting"
    )


def test_what_the_cloud_refuses_fails_with_its_words_and_the_others_go_on(bench: Bench) -> None:
    ids = volume_ids(3)
    bench.load(ids)
    bench.run(FakeCloud(faults={ids[1]: ["refused"]}))
    jobs = bench.jobs()
    assert [str(jobs[volume_id].state) for volume_id in ids] == ["succeeded", "failed", "succeeded"]
    assert jobs[ids[1]].reason == "bad disk format"
    assert jobs[ids[1]].status == 400


@pytest.mark.parametrize(("policy", "state"), [(InUse.FAIL, "failed"), (InUse.SKIP, "skipped")])
def test_a_volume_in_use_follows_the_policy(bench: Bench, policy: InUse, state: str) -> None:
    ids = volume_ids(2)
    bench.load(ids)
    bench.run(FakeCloud(statuses={ids[0]: "in-use"}), settings=Settings(in_use=policy))
    assert bench.states() == {ids[0]: state, ids[1]: "succeeded"}
    assert "attached to a server" in (bench.jobs()[ids[0]].reason or "")


def test_a_volume_that_does_not_exist_fails(bench: Bench) -> None:
    ids = volume_ids(1)
    bench.load(ids)
    bench.run(FakeCloud(statuses={ids[0]: None}))
    assert bench.states() == {ids[0]: "failed"}


def test_a_volume_on_its_way_to_another_status_is_tried_again_later(bench: Bench) -> None:
    ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(statuses={ids[0]: "detaching"})

    def freed(job: Job, before: JobState, after: JobState) -> None:
        if after is JobState.PENDING:
            cloud.statuses.clear()

    bench.run(cloud, on_change=freed)
    assert bench.states() == {ids[0]: "succeeded"}
    assert bench.jobs()[ids[0]].attempts == 2


def test_too_many_failures_stop_the_run_and_leave_the_rest(bench: Bench) -> None:
    ids = volume_ids(20)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["refused"] for volume_id in ids})
    with pytest.raises(RunStoppedError, match="3 failed rows"):
        bench.run(cloud, concurrency=1, max_failures=MaxFailures(count=3))
    states = list(bench.states().values())
    assert (states.count("failed"), states.count("pending")) == (3, 17)


def test_what_no_row_can_survive_stops_the_target_at_once_and_fails_no_row(bench: Bench) -> None:
    ids = volume_ids(10)
    bench.load(ids)
    cloud = FakeCloud(faults={ids[2]: ["fatal"]})
    with pytest.raises(FatalError, match="account frozen"):
        bench.run(cloud, concurrency=1)
    states = list(bench.states().values())
    assert "failed" not in states
    assert states.count("pending") >= 7
    bench.run(cloud)
    assert set(bench.states().values()) == {"succeeded"}


def test_targets_go_on_when_another_one_cannot(bench: Bench) -> None:
    good, bad = TargetKey(project="good"), TargetKey(project="bad")
    bench.load(volume_ids(10), targets=(good, bad))
    clouds = {good: FakeCloud(), bad: FakeCloud(faults={v: ["fatal"] * 5 for v in volume_ids(10)})}
    with pytest.raises(FatalError):
        bench.run(clouds.__getitem__)
    assert sorted(bench.states().values()) == ["pending"] * 5 + ["succeeded"] * 5


def test_limits_are_per_target(bench: Bench) -> None:
    one, two = TargetKey(region="one"), TargetKey(region="two")
    bench.load(volume_ids(20), targets=(one, two))
    clouds = {one: FakeCloud(image_lag_s=0.0), two: FakeCloud(image_lag_s=0.0)}
    bench.run(clouds.__getitem__, settings=Settings(limits=Limits(max_exports=3, poll_interval_s=5.0)))
    assert [cloud.most_in_progress for cloud in clouds.values()] == [3, 3]
    assert set(bench.states().values()) == {"succeeded"}
