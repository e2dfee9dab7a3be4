"""Servers and what else may happen: crashes, refusals, changes of mind, a compute service that is away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from batchexport.config import InUse, Limits, ServerStops, Settings
from batchexport.errors import AuthenticationError, FatalError, RefusedError, TransientError
from batchexport.model import Job, JobState, ResourceState, Server
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_servers import ServedCloud
from tests.engine.fast_time import let_pass
from tests.engine.test_random_schedules import until_crash

IDS = volume_ids(3)
LIMITS = Limits(poll_interval_s=10.0)
STOP = Settings(in_use=InUse.STOP, limits=LIMITS)


def afoot(bench: Bench) -> dict[str, ResourceState]:
    with bench.reader() as reader:
        return {server.resource_id: server.state for server in reader.overview().resources}


def crashed(bench: Bench, cloud: ServedCloud, *, after: int, settings: Settings = STOP) -> Bench:
    """What a run leaves that is killed after so many orders and changes of rows."""
    snapshot = bench.path.with_suffix(".dead")
    assert until_crash(bench, cloud, snapshot, crash_after=after, full_after=0, settings=settings)
    let_pass(31.0)  # the dead owner's lease
    return Bench(snapshot)


class AwayCloud(ServedCloud):
    """A cloud of which one call fails, from a moment on, until it is mended."""

    def __init__(self, attached: dict[str, Any], **options: Any) -> None:
        super().__init__(attached, **options)
        self.broken: dict[Any, Any] = {}  # call -> error
        self.breaks_after_stop: dict[Any, Any] = {}

    def _take(self, order: str, server_id: str) -> None:
        super()._take(order, server_id)
        self.broken |= self.breaks_after_stop

    def _read(self, call: str) -> None:
        super()._read(call)
        if call in self.broken:
            raise self.broken[call]


def test_only_bringing_up_leaves_down_what_is_being_copied_until_it_ended(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a"], IDS[1]: ["b"]}, upload_s=300.0)
    one_down = Settings(in_use=InUse.STOP, limits=LIMITS, server_stops=ServerStops(max_down=1))
    dead = crashed(bench, cloud, after=3, settings=one_down)
    only_up = Settings(in_use=InUse.STOP, limits=LIMITS, wait=False, preflight=False)
    dead.run(cloud, settings=only_up, stop=0.0)
    assert afoot(dead) == {"a": ResourceState.HELD}
    let_pass(400.0)
    dead.run(cloud, settings=only_up, stop=0.0)
    assert afoot(dead) == {}
    assert cloud.running() == {"a", "b"}
    assert sorted(dead.states().values()) == ["pending", "succeeded"]


@pytest.mark.parametrize("after", range(1, 8))
def test_a_crash_at_any_step_costs_no_server_and_no_second_image(bench: Bench, after: int) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a"], IDS[1]: ["a", "b"]})
    dead = crashed(bench, cloud, after=after)
    dead.run(cloud, settings=STOP)
    cloud.look_everywhere()
    assert (cloud.torn, afoot(dead), cloud.running()) == ([], {}, {"a", "b"})
    assert set(dead.states().values()) == {"succeeded"}
    assert all(len(cloud.good_images_of(volume_id)) == 1 for volume_id in IDS[:2])


def test_a_run_that_is_done_but_for_a_server_still_starts_it(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]})
    dead = crashed(bench, cloud, after=5)
    assert dead.states()[IDS[0]] == "succeeded"
    assert afoot(dead) == {"a": ResourceState.RELEASING}
    dead.run(cloud, settings=STOP)
    assert (afoot(dead), cloud.running()) == ({}, {"a"})


def test_another_word_on_volumes_in_use_lets_rows_go_and_starts_their_servers(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a"], IDS[1]: ["b"]})
    one_down = Settings(in_use=InUse.STOP, limits=LIMITS, server_stops=ServerStops(max_down=1))
    dead = crashed(bench, cloud, after=1, settings=one_down)
    dead.run(cloud, settings=Settings(limits=LIMITS))
    assert {job.code for job in dead.jobs().values()} == {"in_use"}
    assert (afoot(dead), cloud.running()) == ({}, {"a", "b"})


def test_a_volume_that_was_detached_while_it_waited_stops_nothing(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a"], IDS[1]: ["b"]})

    def changed(job: Job, before: JobState, after: JobState) -> None:
        if after == "exporting":
            cloud.attached[IDS[1]] = ()

    bench.run(
        cloud,
        settings=Settings(in_use=InUse.STOP, limits=LIMITS, server_stops=ServerStops(max_down=1)),
        on_change=changed,
    )
    assert set(bench.states().values()) == {"succeeded"}
    assert cloud.orders == [("stop", "a"), ("start", "a")]


def test_a_volume_that_was_moved_while_it_waited_stops_its_new_server(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a"], IDS[1]: ["b"], IDS[2]: ["c"]})

    def changed(job: Job, before: JobState, after: JobState) -> None:
        if after == "exporting":
            cloud.attached[IDS[1]] = ("c",)

    bench.run(
        cloud,
        settings=Settings(in_use=InUse.STOP, limits=LIMITS, server_stops=ServerStops(max_down=1)),
        on_change=changed,
    )
    assert [server_id for order, server_id in cloud.orders if order == "stop"] == ["a", "c"]
    assert cloud.running() == {"a", "b", "c"}


def test_servers_that_may_not_be_seen_fail_their_rows_only(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = AwayCloud({IDS[0]: ["a"]})
    cloud.broken["servers"] = RefusedError("policy does not allow servers:detail", status=403)
    bench.run(cloud, settings=STOP)
    jobs = bench.jobs()
    assert (jobs[IDS[0]].state, jobs[IDS[1]].state) == ("failed", "succeeded")
    assert "policy does not allow" in (jobs[IDS[0]].reason or "")


def test_a_compute_service_that_is_away_is_waited_for(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]})
    errors = [TransientError("bad gateway", status=502)] * 3
    see = cloud.servers

    async def servers(server_ids: list[str]) -> AsyncIterator[list[Server]]:
        if errors:
            raise errors.pop()
        async for page in see(server_ids):
            yield page

    cloud.servers = servers
    bench.run(cloud, settings=STOP)
    assert bench.states()[IDS[0]] == "succeeded"
    assert cloud.running() == {"a"}


def test_a_compute_service_that_stays_away_ends_the_run_loudly(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchexport.engine.steps.stop_server.STUCK_AFTER_S", 200.0)
    bench.load(IDS[:1])
    cloud = AwayCloud({IDS[0]: ["a"]})
    cloud.breaks_after_stop = {"servers": TransientError("bad gateway", status=502)}
    bench.run(cloud, settings=STOP, stop=60.0)
    assert afoot(bench) == {"a": ResourceState.ACQUIRING}
    assert "not everything that was stopped is up again: server a (vm-a) is stopping" in caplog.text
    cloud.broken.clear()
    cloud.breaks_after_stop = {}
    bench.run(cloud, settings=STOP)
    assert (afoot(bench), cloud.running()) == ({}, {"a"})


def test_a_sign_in_that_is_refused_to_the_list_of_volumes_keeps_no_server_down(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = AwayCloud({IDS[0]: ["a"]}, upload_s=300.0)
    cloud.breaks_after_stop = {"volumes": AuthenticationError("the token is refused", status=401)}
    bench.run(cloud, settings=STOP)
    assert (bench.states()[IDS[0]], afoot(bench), cloud.running()) == ("succeeded", {}, {"a"})


def test_a_sign_in_that_is_refused_leaves_the_servers_in_the_file(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = AwayCloud({IDS[0]: ["a"]}, upload_s=300.0)
    cloud.breaks_after_stop = {"servers": AuthenticationError("the token is refused", status=401)}
    with pytest.raises(FatalError):
        bench.run(cloud, settings=STOP)
    assert set(afoot(bench)) == {"a"}
    cloud.broken.clear()
    cloud.breaks_after_stop = {}
    bench.run(cloud, settings=STOP)
    assert (afoot(bench), cloud.running()) == ({}, {"a"})
    assert bench.states()[IDS[0]] == "succeeded"


def test_a_sign_in_that_is_refused_by_the_block_storage_alone_leaves_no_server_down(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = AwayCloud({IDS[0]: ["a"]}, upload_s=300.0)
    refused = AuthenticationError("the token is refused", status=401, method="GET")
    cloud.breaks_after_stop = dict.fromkeys(("volumes", "volume", "images", "image"), refused)
    bench.run(cloud, settings=STOP)
    assert bench.jobs()[IDS[0]].code == "server_unseen"
    assert (afoot(bench), cloud.running()) == ({}, {"a"})


@pytest.mark.parametrize("error", [None, AuthenticationError("the token is refused", status=401)])
def test_an_order_that_comes_too_late_is_not_sent(bench: Bench, error: AuthenticationError | None) -> None:
    """Between the decision and the first byte the run was told to stop, or lost its sign-in."""
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]})
    give = cloud.stop_servers

    async def stop_servers(server_ids: list[str], *, hard: bool, fence: Callable[..., Any]) -> Any:
        await asyncio.sleep(30.0)
        if error is not None:
            raise error
        return await give(server_ids, hard=hard, fence=fence)

    cloud.stop_servers = stop_servers
    if error is None:
        bench.run(cloud, settings=STOP, stop=15.0)
        assert afoot(bench) == {}
    else:
        with pytest.raises(AuthenticationError):
            bench.run(cloud, settings=STOP)
        assert afoot(bench) == {}
    assert cloud.orders == []
