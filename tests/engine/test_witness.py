"""Nothing is believed of a server before it was looked at: not that it is gone, not that it is off, not that
a copy of its volumes was made while it was.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.config import InUse, Limits, ServerStops, Settings
from batchexport.engine import run
from batchexport.errors import AuthenticationError, FatalError, RefusedError, StateWriteError, TransientError
from batchexport.model import Image, Job, JobState, ResourceState, Server, TargetKey, Volume
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import EPOCH
from tests.engine.fake_servers import Machine, ServedCloud
from tests.engine.fast_time import fast_now, let_pass, run_fast
from tests.engine.test_downtime_trouble import AwayCloud, afoot, crashed

IDS = volume_ids(4)
STOP = Settings(in_use=InUse.STOP, limits=Limits(poll_interval_s=5.0))
ONLY_UP = Settings(in_use=InUse.STOP, limits=Limits(poll_interval_s=5.0), wait=False, preflight=False)
BAD_GATEWAY = TransientError("bad gateway", status=502)


def reasons(bench: Bench) -> dict[str, tuple[str, str | None]]:
    return {volume_id: (str(job.state), job.code) for volume_id, job in bench.jobs().items()}


def on_first_export(act: Callable[..., Any], *, after_s: float = 0.0) -> Callable[..., None]:
    """Does something so long after the first export began."""
    done: list[Any] = []

    def changed(job: Job, before: JobState, after: JobState) -> None:
        if after is JobState.EXPORTING and not done:
            done.append(job)
            asyncio.get_running_loop().call_later(after_s, act)

    return changed


def down_for_s(bench: Bench, cloud: ServedCloud, **options: Any) -> float:
    """A run; for how long a server was down, by the orders."""
    at: dict[str, float] = {}
    cloud.watch_orders = lambda order, server_id: at.setdefault(order, fast_now())
    bench.run(cloud, settings=STOP, **options)
    return at["start"] - at["stop"]


async def running(
    bench: Bench, cloud: ServedCloud, *, after_s: float = 0.0, settings: Settings = STOP
) -> None:
    """A run of one of several state files, on one clock with the others."""

    @contextlib.asynccontextmanager
    async def connect(key: TargetKey, rate: float | None) -> AsyncIterator[ServedCloud]:
        yield cloud

    await asyncio.sleep(after_s)
    loop = asyncio.get_running_loop()
    async with bench.open() as state:
        await run(state, connect, settings, stop=asyncio.Event(), now=lambda: EPOCH + loop.time())


def together(*runs: Awaitable[Any]) -> None:
    async def go() -> None:
        await asyncio.wait_for(asyncio.gather(*runs), 1e6)

    run_fast(go())


# What a list leaves out ----------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [70.0, 500.0])
def test_servers_that_cannot_be_seen_for_long_are_not_forgotten(bench: Bench, seconds: float) -> None:
    """A cell that does not answer: its servers are in no list, and cannot be read."""
    bench.load(IDS)
    cloud = ServedCloud({volume_id: [f"s{n}"] for n, volume_id in enumerate(IDS)}, upload_s=200.0)

    def cell_goes() -> None:
        cloud.away = dict.fromkeys(["s0", "s1", "s2"], (fast_now(), fast_now() + seconds))

    bench.run(cloud, settings=STOP, on_change=on_first_export(cell_goes))
    assert cloud.running() == {"s0", "s1", "s2", "s3"}
    assert afoot(bench) == {}
    assert set(bench.states().values()) == {"succeeded"}


def test_one_answer_that_there_is_no_such_server_is_not_believed(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]}, upload_s=300.0)

    def blink() -> None:
        cloud.vanished = {"a": (fast_now(), fast_now() + 20.0)}

    bench.run(cloud, settings=STOP, on_change=on_first_export(blink, after_s=60.0))
    assert (cloud.running(), afoot(bench)) == ({"a"}, {})


def test_a_volume_of_a_server_that_is_not_there_fails_after_a_second_look(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]})
    del cloud.machines["a"]
    bench.run(cloud, settings=STOP)
    assert reasons(bench) == {IDS[0]: ("failed", "server_not_found")}
    assert cloud.calls["servers"] > 1


def test_a_list_that_is_behind_makes_no_server_look_started(bench: Bench) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({volume_id: ["a"] for volume_id in IDS[:2]}, upload_s=60.0)
    see = cloud.servers
    behind: list[Any] = []

    async def servers(server_ids: list[str]) -> AsyncIterator[list[Server]]:
        async for page in see(server_ids):
            yield [replace(server, status="active") if behind else server for server in page]

    def falls_behind() -> None:
        behind.append(True)
        asyncio.get_running_loop().call_later(40.0, behind.clear)

    cloud.servers = servers
    settings = Settings(in_use=InUse.STOP, limits=Limits(poll_interval_s=5.0, max_exports=1))
    bench.run(cloud, settings=settings, on_change=on_first_export(falls_behind, after_s=5.0))
    assert reasons(bench) == dict.fromkeys(IDS[:2], ("succeeded", None))
    assert (cloud.running(), cloud.ordered("stop")) == ({"a"}, {"a": 1})


# Two lists, one server -----------------------------------------------------------------------------


def test_a_server_is_not_started_under_a_copy_of_another_list(bench: Bench, tmp_path: Path) -> None:
    """State files in other folders are not seen, but what they copy is."""
    (tmp_path / "elsewhere").mkdir()
    other = Bench(tmp_path / "elsewhere" / "night.state")
    bench.load(IDS[:1])
    other.load(IDS[1:2])
    cloud = ServedCloud({IDS[0]: ["s"], IDS[1]: ["s"]}, upload_s=200.0)
    together(running(bench, cloud), running(other, cloud, after_s=100.0))
    cloud.look_everywhere()
    assert cloud.torn == []
    assert (cloud.running(), cloud.ordered("start")) == ({"s"}, {"s": 1})
    assert reasons(bench) | reasons(other) == dict.fromkeys(IDS[:2], ("succeeded", None))


def test_a_server_that_another_state_file_has_stopped_is_waited_for(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Bench(tmp_path / "other.state")
    bench.load(IDS[:1])
    other.load(IDS[1:2])
    cloud = ServedCloud({IDS[0]: ["s"], IDS[1]: ["s"]}, upload_s=200.0)
    together(running(bench, cloud), running(other, cloud, after_s=100.0))
    assert cloud.torn == []
    assert cloud.orders == [("stop", "s"), ("start", "s")] * 2
    assert reasons(bench) | reasons(other) == dict.fromkeys(IDS[:2], ("succeeded", None))
    assert f"server s is down for the exports of {bench.path}" in caplog.text


def test_a_server_that_a_dead_run_left_down_is_not_copied_under(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Bench(tmp_path / "other.state")
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["s"], IDS[1]: ["s"]}, upload_s=200.0)
    dead = crashed(bench, cloud, after=3)
    bench.path.unlink()
    dead.path.rename(tmp_path / "dead.state")
    monkeypatch.setattr("batchexport.store.sqlite.files.is_alive", lambda owner, here: False)
    other.load(IDS[1:2])
    other.run(cloud, settings=STOP)
    job = other.jobs()[IDS[1]]
    assert (job.state, job.code) == ("failed", "server_down_elsewhere")
    assert "dead.state --start` starts it" in (job.reason or "")


def test_a_copy_of_somebody_else_that_never_ends_keeps_a_server_down_no_longer_than_copies_take(
    bench: Bench,
) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["s"], IDS[1]: ["s"]})
    look = cloud.get_volume

    async def volume(volume_id: str) -> Volume | None:
        seen = await look(volume_id)
        return seen if seen is None or volume_id == IDS[0] else replace(seen, status="uploading")

    cloud.get_volume = volume
    assert 3600.0 < down_for_s(bench, cloud) < 2 * 3600.0
    assert (cloud.running(), afoot(bench)) == ({"s"}, {})


@pytest.mark.parametrize("error", [BAD_GATEWAY, RefusedError("no", status=403)])
def test_volumes_that_cannot_be_looked_at_keep_no_server_down(
    bench: Bench, error: RefusedError | TransientError
) -> None:
    bench.load(IDS[:1])
    cloud = AwayCloud({IDS[0]: ["s"]}, upload_s=20.0)
    changed = on_first_export(lambda: cloud.broken.update(volume=error), after_s=1.0)
    assert down_for_s(bench, cloud, on_change=changed) < 600.0
    assert (cloud.running(), afoot(bench)) == ({"s"}, {})


def test_an_export_that_never_ends_keeps_its_server_down_only_until_its_deadline(bench: Bench) -> None:
    """The service that copies died: the volume stays `uploading`, its image unfinished."""
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["s"]}, upload_s=1e12)
    assert down_for_s(bench, cloud) < 3 * 3600.0
    assert reasons(bench) == {IDS[0]: ("failed", "export_stuck")}
    assert (cloud.running(), afoot(bench)) == ({"s"}, {})


def test_a_copy_that_ends_after_all_under_its_server_is_no_plain_success_by_retry(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["s"]}, upload_s=1e12)
    bench.run(cloud, settings=STOP)
    assert reasons(bench) == {IDS[0]: ("failed", "export_stuck")}
    (record,) = cloud.records.values()
    record["active_at"] = record["free_at"] = cloud.server_now_s()

    async def retry() -> None:
        async with bench.open() as state:
            work = await state.take(1)
            await work.retry(frozenset({JobState.FAILED}))
            await work.release()

    run_fast(retry())
    bench.run(cloud, settings=STOP)
    assert reasons(bench) == {IDS[0]: ("succeeded", "server_ran")}
    assert len(cloud.posts) == 1
    assert (cloud.running(), afoot(bench)) == ({"s"}, {})


# Copies under a server that runs ---------------------------------------------------------------------


def test_nothing_is_sent_for_a_server_that_somebody_started_and_its_copy_says_so(bench: Bench) -> None:
    bench.load(IDS[:3])
    cloud = ServedCloud({volume_id: ["a"] for volume_id in IDS[:3]}, upload_s=20.0)
    changed = on_first_export(lambda: cloud.machines["a"].turn("active", None, 0.0), after_s=5.0)
    settings = Settings(in_use=InUse.STOP, limits=Limits(poll_interval_s=5.0, max_exports=1))
    bench.run(cloud, settings=settings, on_change=changed)
    assert len(cloud.posts) == 1
    assert reasons(bench) == {
        IDS[0]: ("succeeded", "server_ran"),
        IDS[1]: ("failed", "server_started"),
        IDS[2]: ("failed", "server_started"),
    }
    assert "server a (vm-a) ran" in (bench.jobs()[IDS[0]].reason or "")


def test_a_volume_that_is_attached_to_another_server_meanwhile_waits_for_that_too(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]}, machines={"z": Machine()})
    cloud.after_order = lambda: cloud.attached.update({IDS[0]: ("a", "z")})
    bench.run(cloud, settings=STOP)
    cloud.look_everywhere()
    assert cloud.torn == []
    assert reasons(bench) == {IDS[0]: ("succeeded", None)}
    assert cloud.running() == {"a", "z"}


def test_a_volume_that_is_detached_from_its_server_goes_without_force_and_without_a_word(
    bench: Bench,
) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]}, upload_s=100.0)
    machine = cloud.machines["a"]
    down: list[Any] = []

    def detach() -> None:  # when the server is down, right before the export
        if machine.look()[0] == "shutoff" and not down:
            down.append(True)
            cloud.attached[IDS[0]] = ()

    look = cloud.get_volume

    async def volume(volume_id: str) -> Volume | None:
        detach()
        return await look(volume_id)

    cloud.get_volume = volume
    bench.run(cloud, settings=STOP)
    assert down
    assert reasons(bench) == {IDS[0]: ("succeeded", None)}
    assert (cloud.running(), afoot(bench)) == ({"a"}, {})


def test_a_server_that_was_off_before_and_is_started_under_the_copy_is_told(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["off"]}, machines={"off": Machine("shutoff")}, upload_s=200.0)
    turn = cloud.machines["off"].turn

    def for_a_moment() -> None:
        turn("active", None, 0.0)
        asyncio.get_running_loop().call_later(30.0, turn, "shutoff", None, 0.0)

    bench.run(cloud, settings=STOP, on_change=on_first_export(for_a_moment, after_s=50.0))
    assert reasons(bench) == {IDS[0]: ("succeeded", "server_ran")}
    assert cloud.orders == []


def test_a_server_that_is_started_at_the_last_moment_is_told(bench: Bench) -> None:
    """Between two looks: it is looked at once more when the image is there."""
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]}, upload_s=200.0)
    changed = on_first_export(lambda: cloud.machines["a"].turn("active", None, 0.0), after_s=199.0)
    settings = Settings(in_use=InUse.STOP, limits=Limits(poll_interval_s=150.0))
    bench.run(cloud, settings=settings, on_change=changed)
    assert reasons(bench) == {IDS[0]: ("succeeded", "server_ran")}


def test_that_a_server_ran_is_not_forgotten_by_a_crash(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]}, upload_s=300.0)
    dead = crashed(bench, cloud, after=3)
    turn = cloud.machines["a"].turn
    turn("active", None, 0.0)
    dead.run(cloud, settings=STOP, stop=30.0)
    turn("shutoff", None, 0.0)
    assert dead.states()[IDS[0]] == "exporting"
    dead.run(cloud, settings=STOP)
    turn("active", None, 0.0)
    assert reasons(dead) == {IDS[0]: ("succeeded", "server_ran")}
    assert (cloud.running(), afoot(dead)) == ({"a"}, {})


def test_servers_that_cannot_be_looked_at_after_the_copy_make_no_plain_success(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = AwayCloud({IDS[0]: ["a"]}, upload_s=60.0)
    changed = on_first_export(lambda: cloud.broken.update(servers=BAD_GATEWAY, server=BAD_GATEWAY))
    asyncio_later = on_first_export(cloud.broken.clear, after_s=2000.0)
    bench.run(cloud, settings=STOP, on_change=lambda *told: (changed(*told), asyncio_later(*told)))
    assert reasons(bench) == {IDS[0]: ("succeeded", "server_unseen")}
    assert (cloud.running(), afoot(bench)) == ({"a"}, {})


def test_servers_that_cannot_be_looked_at_before_the_export_fail_it_in_time(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = AwayCloud({IDS[0]: ["a"]})
    cloud.broken["server"] = BAD_GATEWAY
    bench.run(cloud, settings=STOP)
    assert reasons(bench) == {IDS[0]: ("failed", "server_unseen")}
    assert (cloud.posts, cloud.running()) == ([], {"a"})


# Whatever ends the run -------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [3.0, 20.0])
def test_a_free_server_is_started_at_the_first_try_by_however_slow_a_compute_service(
    bench: Bench, seconds: float
) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({volume_id: ["a"] for volume_id in IDS[:2]}, upload_s=30.0)
    dead = crashed(bench, cloud, after=4)
    let_pass(60.0)
    see = cloud.servers

    async def servers(server_ids: list[str]) -> AsyncIterator[list[Server]]:
        await asyncio.sleep(seconds)
        async for page in see(server_ids):
            yield page

    cloud.servers = servers
    dead.run(cloud, settings=ONLY_UP, stop=0.0)
    assert (cloud.running(), afoot(dead)) == ({"a"}, {})


def test_two_looks_at_the_same_exports_end_each_once(bench: Bench) -> None:
    """A glance at what was left, while the watcher looks: both are slow."""
    bench.load(IDS[:2])
    cloud = ServedCloud({volume_id: ["a"] for volume_id in IDS[:2]}, upload_s=30.0)
    dead = crashed(bench, cloud, after=4)
    let_pass(60.0)
    look = cloud.get_image

    async def image(image_id: str) -> Image | None:
        await asyncio.sleep(20.0)
        return await look(image_id)

    cloud.get_image = image
    dead.run(cloud, settings=ONLY_UP, stop=0.0)
    assert (cloud.running(), afoot(dead)) == ({"a"}, {})
    assert set(dead.states().values()) == {"succeeded"}


@pytest.mark.parametrize("retry_after_s", [7200.0, 1e9])
def test_a_cloud_that_asks_to_be_left_alone_for_hours_does_not_keep_a_server_down(
    bench: Bench, retry_after_s: float
) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]})
    cloud.order_errors = [("start", TransientError("busy", status=503, retry_after_s=retry_after_s))]
    assert down_for_s(bench, cloud) < 900.0
    assert (cloud.running(), afoot(bench)) == ({"a"}, {})


def test_a_sign_in_that_is_refused_now_and_then_neither_ends_the_run_nor_keeps_a_server_down(
    bench: Bench,
) -> None:
    bench.load(IDS[:1])
    cloud = AwayCloud({IDS[0]: ["a"]}, upload_s=60.0)
    refused = AuthenticationError("the token is refused", status=401)

    def flap() -> None:
        cloud.broken["servers"] = refused
        asyncio.get_running_loop().call_later(7.0, cloud.broken.clear)

    bench.run(cloud, settings=STOP, on_change=on_first_export(flap, after_s=10.0))
    assert reasons(bench) == {IDS[0]: ("succeeded", None)}
    assert (cloud.running(), afoot(bench)) == ({"a"}, {})


def test_a_run_that_can_no_longer_watch_ends_and_names_the_server_with_what_starts_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.load(IDS[:1])
    cloud = AwayCloud({IDS[0]: ["a"]}, upload_s=300.0)
    forbidden = FatalError("the project is suspended", status=403)
    calls = ("volumes", "volume", "images", "images_by_id", "image", "images_named")
    changed = on_first_export(lambda: cloud.broken.update(dict.fromkeys(calls, forbidden)))
    with pytest.raises(FatalError):
        bench.run(cloud, settings=STOP, on_change=changed)
    assert afoot(bench) == {"a": ResourceState.HELD}
    assert "not everything that was stopped is up again: server a (vm-a): volume" in caplog.text
    assert re.search(r"`batchexport resume /\S+\.state` starts them", caplog.text)


def test_a_drain_that_waits_says_for_which_export_and_until_when(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]}, upload_s=300.0)
    bench.run(cloud, settings=STOP, stop=60.0)
    assert f"server a (vm-a): volume {IDS[0]} is being exported, expected to end by 20" in caplog.text
    assert (cloud.running(), afoot(bench)) == ({"a"}, {})


def test_a_full_disk_leaves_no_server_down_whose_copy_has_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.load(IDS[:2])
    cloud = ServedCloud({IDS[0]: ["a"], IDS[1]: ["b"]}, upload_s=20.0)
    full = []

    def changed(job: Job, before: JobState, after: JobState) -> None:
        if after is JobState.EXPORTING and job.volume_id == IDS[1]:
            cloud.records[next(reversed(cloud.records))]["active_at"] = None  # this copy takes for ever
            cloud.records[next(reversed(cloud.records))]["free_at"] = 1e12
        if after is JobState.SUCCEEDED:
            full.append(True)

    from batchexport.store.sqlite.writer import Writer

    commit = Writer._commit

    def refusing(self: Writer, batch: list[Any], answers: list[Any]) -> Any:
        if full:
            import sqlite3

            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return commit(self, batch, answers)

    monkeypatch.setattr(Writer, "_commit", refusing)
    monkeypatch.setattr("batchexport.store.sqlite.writer.Writer._pause", lambda self, pause_s: False)
    with pytest.raises(StateWriteError) as caught:
        bench.run(cloud, settings=STOP, on_change=changed)
    let_pass(60.0)
    assert cloud.running() == {"a"}
    assert "servers asked to start, not seen up: a (vm-a)" in (caught.value.hint or "")
    assert "servers still down: b (vm-b)" in (caught.value.hint or "")
    assert f"`batchexport servers {bench.path} --start`" in (caught.value.hint or "")


def test_start_anyway_starts_under_a_copy_that_does_not_end_and_its_row_says_so(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]}, upload_s=1e12)
    dead = crashed(bench, cloud, after=3)
    dead.run(cloud, settings=ONLY_UP, stop=0.0)
    assert afoot(dead) == {"a": ResourceState.HELD}
    dead.run(cloud, settings=ONLY_UP, stop=0.0, start_anyway=True)
    assert (cloud.running(), afoot(dead)) == ({"a"}, {})
    (record,) = cloud.records.values()
    record["active_at"] = record["free_at"] = cloud.server_now_s()
    dead.run(cloud, settings=STOP)
    assert reasons(dead) == {IDS[0]: ("succeeded", "server_ran")}


def test_what_starts_a_server_under_a_copy_is_said_and_why_it_is_left(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["a"]}, upload_s=1e12)
    dead = crashed(bench, cloud, after=3)
    caplog.clear()
    dead.run(cloud, settings=ONLY_UP, stop=0.0)
    assert f"server a (vm-a): volume {IDS[0]} is being exported" in caplog.text
    assert "--start --anyway" in caplog.text
    assert "Ctrl-C" not in caplog.text


def test_what_an_earlier_run_left_down_and_somebody_started_is_stopped_anew(bench: Bench) -> None:
    bench.load(IDS[:2])
    one_down = Settings(in_use=InUse.STOP, limits=Limits(poll_interval_s=5.0, max_exports=1))
    cloud = ServedCloud({volume_id: ["a"] for volume_id in IDS[:2]})
    dead = crashed(bench, cloud, after=2, settings=one_down)
    cloud.machines["a"].turn("active", None, 0.0)
    dead.run(cloud, settings=Settings(in_use=InUse.STOP, server_stops=ServerStops(), limits=one_down.limits))
    cloud.look_everywhere()
    assert (cloud.torn, cloud.running(), afoot(dead)) == ([], {"a"}, {})
    assert {state for state, _ in reasons(dead).values()} == {"succeeded"}
