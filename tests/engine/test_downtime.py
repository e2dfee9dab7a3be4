"""Servers are stopped for the export of their volumes, and every one of them runs again."""

from typing import Any

import pytest

from batchexport.config import InUse, Limits, ServerStops, Settings
from batchexport.errors import RefusedError, TransientError
from batchexport.model import ImageOptions, Job, JobState, ResourceState
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_servers import Machine, ServedCloud

IDS = volume_ids(6)


def settings(
    *, in_use: InUse = InUse.STOP, limits: dict[str, int] | None = None, **server_stops: Any
) -> Settings:
    given: dict[str, Any] = {"poll_interval_s": 10.0, **(limits or {})}
    return Settings(in_use=in_use, limits=Limits(**given), server_stops=ServerStops(**server_stops))


def afoot(bench: Bench) -> dict[str, ResourceState]:
    with bench.reader() as reader:
        return {server.resource_id: server.state for server in reader.overview().resources}


def check(bench: Bench, cloud: ServedCloud, *, running: set[str] | None = None) -> None:
    """Nothing was torn, nothing is left stopped, and nobody has two images."""
    cloud.look_everywhere()
    assert cloud.torn == []
    assert afoot(bench) == {}
    assert cloud.running() == (set(cloud.machines) if running is None else running)
    assert all(len(cloud.good_images_of(volume_id)) <= 1 for volume_id in cloud.attached)


def test_a_server_with_three_volumes_is_stopped_once_and_started_after_the_last(bench: Bench) -> None:
    bench.load(IDS[:4])
    cloud = ServedCloud({volume_id: ["a"] for volume_id in IDS[:3]})
    bench.run(cloud, settings=settings())
    assert set(bench.states().values()) == {"succeeded"}
    assert cloud.orders == [("stop", "a"), ("start", "a")]
    check(bench, cloud)


def test_all_servers_of_a_shared_disk_are_down_for_it(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a", "b"], IDS[1]: ["b", "c"]})
    bench.run(cloud, settings=settings())
    assert set(bench.states().values()) == {"succeeded"}
    assert cloud.ordered("stop") == cloud.ordered("start") == {"a": 1, "b": 1, "c": 1}
    check(bench, cloud)


def test_no_more_servers_are_down_at_once_than_allowed(bench: Bench) -> None:
    bench.load(IDS)
    cloud = ServedCloud({volume_id: [f"s{number}"] for number, volume_id in enumerate(IDS)})
    bench.run(cloud, settings=settings(max_down=2))
    assert set(bench.states().values()) == {"succeeded"}
    assert cloud.most_down == 2
    check(bench, cloud)


def test_a_group_larger_than_the_limit_goes_alone(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a", "b", "c"], IDS[1]: ["d"]})
    bench.run(cloud, settings=settings(max_down=2))
    assert set(bench.states().values()) == {"succeeded"}
    assert cloud.most_down == 3
    check(bench, cloud)


def test_a_server_that_was_off_before_is_neither_stopped_nor_started(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud(
        {IDS[0]: ["off"], IDS[1]: ["off", "on"]}, machines={"off": Machine("shutoff"), "on": Machine()}
    )
    bench.run(cloud, settings=settings())
    assert set(bench.states().values()) == {"succeeded"}
    assert cloud.orders == [("stop", "on"), ("start", "on")]
    check(bench, cloud, running={"on"})


@pytest.mark.parametrize("status", ["paused", "suspended", "error", "verify_resize"])
def test_a_server_in_another_status_fails_its_rows_and_stops_no_other(bench: Bench, status: str) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a", "odd"], IDS[1]: ["odd"]}, machines={"odd": Machine(status)})
    bench.run(cloud, settings=settings())
    jobs = bench.jobs()
    assert [jobs[volume_id].state for volume_id in IDS[:2]] == ["failed", "failed"]
    assert "server odd (vm-odd)" in (jobs[IDS[0]].reason or "")
    assert status in (jobs[IDS[0]].reason or "")
    assert cloud.orders == []
    check(bench, cloud, running={"a"})


def test_a_passing_status_is_waited_for(bench: Bench) -> None:
    bench.load(IDS[:1])
    machine = Machine("reboot")
    machine.turn("active", None, 100.0)
    cloud = ServedCloud({IDS[0]: ["a"]}, machines={"a": machine})
    bench.run(cloud, settings=settings())
    assert bench.states()[IDS[0]] == "succeeded"
    check(bench, cloud)


def test_a_passing_status_is_not_waited_for_without_end(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]}, machines={"a": Machine("migrating")})
    bench.run(cloud, settings=settings(stop_timeout_s=120.0))
    assert bench.states()[IDS[0]] == "failed"
    check(bench, cloud, running=set())


def test_a_failed_export_starts_its_server_all_the_same(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a"], IDS[1]: ["b"]}, faults={IDS[0]: ["refused"], IDS[1]: ["fails"] * 9})
    bench.run(cloud, settings=settings(limits={"retries": 2}))
    assert set(bench.states().values()) == {"failed"}
    assert cloud.ordered("stop") == cloud.ordered("start") == {"a": 1, "b": 1}
    check(bench, cloud)


def test_a_server_stays_down_for_another_attempt(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]}, faults={IDS[0]: ["fails", "killed", "unavailable"]})
    bench.run(cloud, settings=settings())
    assert bench.states()[IDS[0]] == "succeeded"
    assert cloud.orders == [("stop", "a"), ("start", "a")]
    check(bench, cloud)


def test_a_row_can_ask_for_it_alone(bench: Bench) -> None:
    bench.load(IDS[:1], options=ImageOptions(in_use=InUse.STOP))
    cloud = ServedCloud({IDS[0]: ["a"]})
    bench.run(cloud, settings=settings(in_use=InUse.FAIL))
    assert bench.states()[IDS[0]] == "succeeded"
    check(bench, cloud)


def test_a_row_can_refuse_it_alone(bench: Bench) -> None:
    bench.load(IDS[:1], options=ImageOptions(in_use=InUse.SKIP))
    cloud = ServedCloud({IDS[0]: ["a"]})
    bench.run(cloud, settings=settings())
    assert bench.states()[IDS[0]] == "skipped"
    assert cloud.orders == []


def test_a_volume_attached_after_the_look_is_refused_and_waits_like_the_others(bench: Bench) -> None:
    """A volume that was free when it was looked at is sent without force: only a stopped server earns it."""
    bench.load(IDS[:2])
    cloud = ServedCloud({})
    cloud.machines["a"] = Machine()

    def changed(job: Job, before: JobState, after: JobState) -> None:
        cloud.attached[IDS[1]] = ("a",)

    bench.run(cloud, settings=settings(limits={"max_exports": 1}), on_change=changed)
    assert set(bench.states().values()) == {"succeeded"}
    assert cloud.orders == [("stop", "a"), ("start", "a")]
    assert bench.jobs()[IDS[1]].attempts == 1
    check(bench, cloud)


def test_without_a_preflight_servers_are_found_all_the_same(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({volume_id: ["a"] for volume_id in IDS[:2]})
    bench.run(cloud, settings=Settings(in_use=InUse.STOP, preflight=False))
    assert set(bench.states().values()) == {"succeeded"}
    assert cloud.orders == [("stop", "a"), ("start", "a")]
    check(bench, cloud)


def test_stopping_is_on_disk_before_it_is_asked_for(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]})
    seen = []
    cloud.watch_orders = lambda order, server_id: seen.append((order, afoot(bench)))
    bench.run(cloud, settings=settings())
    assert seen == [("stop", {"a": ResourceState.ACQUIRING}), ("start", {"a": ResourceState.RELEASING})]


def test_a_drain_waits_for_the_exports_of_stopped_servers_and_starts_them(bench: Bench) -> None:
    bench.load(IDS[:3])
    cloud = ServedCloud({IDS[0]: ["a"], IDS[1]: ["a"], IDS[2]: ["b"]}, upload_s=300.0)
    bench.run(
        cloud,
        settings=settings(max_down=1, limits={"max_exports": 1}),
        stop_when=lambda changes: changes[-1][2] == "exporting",
    )
    assert sorted(bench.states().values()) == ["pending", "pending", "succeeded"]
    check(bench, cloud)
    bench.run(cloud, settings=settings())
    assert set(bench.states().values()) == {"succeeded"}
    check(bench, cloud)


def test_a_drain_while_a_server_stops_brings_it_back(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]}, machines={"a": Machine(stop_s=60.0)})
    bench.run(cloud, settings=settings(), stop=30.0)
    assert bench.states()[IDS[0]] == "pending"
    check(bench, cloud)


def test_nothing_is_stopped_outside_of_the_window_and_what_is_left_keeps_nothing_down(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a"], IDS[1]: ["b"]}, upload_s=300.0)
    closed = []

    def max_gib_at(now: float) -> Any:
        if cloud.orders:
            closed.append(now)
        return 0 if len(cloud.records) else 100

    bench.run(cloud, settings=settings(max_down=1), max_gib_at=max_gib_at)
    assert sorted(bench.states().values()) == ["pending", "succeeded"]
    assert cloud.orders == [("stop", "a"), ("start", "a")]
    check(bench, cloud)


def test_a_volume_too_large_for_the_window_stops_nothing(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]})
    bench.run(cloud, settings=settings(), max_gib_at=lambda now: 9)
    assert bench.states()[IDS[0]] == "pending"
    assert cloud.orders == []


def test_a_server_that_does_not_stop_is_left_running_and_its_rows_say_so(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a"], IDS[1]: ["a", "b"]}, machines={"a": Machine(stop_s=500.0)})
    bench.run(cloud, settings=settings(stop_timeout_s=300.0))
    jobs = bench.jobs()
    assert {job.state for job in jobs.values()} == {"failed"}
    assert "did not stop within 5 min, it is active (powering-off)" in (jobs[IDS[0]].reason or "")
    check(bench, cloud)


def test_a_server_that_obeys_too_late_is_started_again(bench: Bench) -> None:
    bench.load(IDS[:1])
    machine = Machine(stop_s=350.0, tells_task=False)
    cloud = ServedCloud({IDS[0]: ["a"]}, machines={"a": machine})
    bench.run(cloud, settings=settings(stop_timeout_s=300.0))
    assert bench.states()[IDS[0]] == "failed"
    check(bench, cloud)


def test_a_start_that_fails_is_asked_for_again(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]})
    cloud.order_errors = [
        ("stop", TransientError("busy", status=503)),
        ("start", {"a": RefusedError("No valid host was found", status=409)}),
        ("start", TransientError("busy", status=503)),
    ]
    bench.run(cloud, settings=settings())
    assert bench.states()[IDS[0]] == "succeeded"
    check(bench, cloud)


def test_a_server_that_never_starts_is_told_and_stays_in_the_file(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchexport.engine.steps.stop_server.STUCK_AFTER_S", 300.0)
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]}, machines={"a": Machine(start_s=1e9)})
    bench.run(cloud, settings=settings())
    assert bench.states()[IDS[0]] == "succeeded"
    with bench.reader() as reader:
        (server,) = reader.overview().resources
    assert server.state is ResourceState.RELEASING
    assert "does not start" in (server.note or "")
    assert server.volume_ids == (IDS[0],)
    assert "start it yourself" in caplog.text
    cloud.machines["a"].turn("active", None, 0.0)
    bench.run(cloud, settings=settings())
    check(bench, cloud)


def test_a_cloud_that_ignores_force_costs_one_stop(bench: Bench) -> None:
    bench.load(IDS[:3])
    cloud = ServedCloud({volume_id: [volume_id[:8]] for volume_id in IDS[:3]}, honours_force=False)
    bench.run(cloud, settings=settings(max_down=1))
    jobs = bench.jobs()
    assert {job.code for job in jobs.values()} == {"force_ignored"}
    assert len(cloud.ordered("stop")) == 1
    check(bench, cloud)


def test_a_stop_that_is_forbidden_fails_the_rows_and_nothing_else(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a"]})
    cloud.order_errors = [("stop", {"a": RefusedError("policy does not allow os-stop", status=403)})]
    bench.run(cloud, settings=settings())
    jobs = bench.jobs()
    assert (jobs[IDS[0]].state, jobs[IDS[1]].state) == ("failed", "succeeded")
    assert "its server may not be stopped: policy does not allow os-stop" in (jobs[IDS[0]].reason or "")
    check(bench, cloud)


def test_a_hard_stop_is_only_asked_for_where_it_was_said(bench: Bench) -> None:
    for hard in (False, True):
        bench.path = bench.path.with_suffix(f".{hard}")
        bench.load(IDS[:1])
        cloud = ServedCloud({IDS[0]: ["a"]})
        bench.run(cloud, settings=settings(hard_stop=hard))
        assert cloud.hard == ({"a"} if hard else set())


def test_a_server_that_somebody_starts_is_not_stopped_again(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a"], IDS[1]: ["a"]}, upload_s=300.0)

    def changed(job: Job, before: JobState, after: JobState) -> None:
        if after == "exporting":
            cloud.machines["a"].turn("active", None, 100.0)

    bench.run(cloud, settings=settings(limits={"max_exports": 1}), on_change=changed)
    assert sorted(bench.states().values()) == ["failed", "succeeded"]
    assert cloud.orders == [("stop", "a")]
    assert afoot(bench) == {}


def test_a_server_that_is_deleted_meanwhile_ends_the_wait_for_it(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]}, upload_s=300.0)

    def changed(job: Job, before: JobState, after: JobState) -> None:
        if after == "exporting":
            cloud.attached[IDS[0]] = ()
            cloud.machines.clear()

    bench.run(cloud, settings=settings(), on_change=changed)
    assert bench.states()[IDS[0]] == "succeeded"
    assert afoot(bench) == {}
