"""Each kind of read fails in each way, from the first export on: rows end right, and servers come up."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from batchexport.config import InUse, Limits, Settings
from batchexport.errors import (
    AuthenticationError,
    CloudError,
    ForbiddenError,
    RunStoppedError,
    TransientError,
)
from batchexport.model import Image, ImageOptions, JobState, Volume
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import FakeCloud
from tests.engine.fake_servers import ServedCloud

IDS = volume_ids(4)
LIMITS = Limits(poll_interval_s=10.0)
STOP = Settings(in_use=InUse.STOP, limits=LIMITS)
READS = ["volumes", "images", "images_by_id", "volume", "image", "images_named"]
WAYS: dict[str, Callable[[], CloudError]] = {
    "403": lambda: ForbiddenError("not allowed", method="GET", url="https://cloud/x", status=403),
    "401": lambda: AuthenticationError("who are you", method="GET", url="https://cloud/x", status=401),
    "504": lambda: TransientError("gateway time-out", method="GET", status=504),
    "no answer": lambda: TransientError("no response in time", method="GET"),
    "unreadable": lambda: TransientError("the answer cannot be read", method="GET", status=200),
}


class BadReads(ServedCloud):
    """A cloud that lets exports begin, and then reads of some kinds fail."""

    def __init__(
        self,
        attached: dict[str, Any],
        *,
        bad: set[str],
        error: Callable[..., Any],
        times: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(attached, **options)
        self.bad, self.error, self.left = bad, error, times

    def _read(self, call: str) -> None:
        super()._read(call)
        if call in self.bad and self.posts and self.left != 0:
            self.left = None if self.left is None else self.left - 1
            raise self.error()


def good_images(cloud: BadReads) -> list[int]:
    return [len(cloud.good_images_of(volume_id)) for volume_id in IDS]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("read", READS)
def test_one_kind_of_read_that_always_fails_costs_no_row_and_no_server(
    bench: Bench, read: str, way: str
) -> None:
    bench.load(IDS)
    cloud = BadReads({IDS[0]: ["a"]}, bad={read}, error=WAYS[way])
    bench.run(cloud, settings=STOP)
    others = {bench.states()[volume_id] for volume_id in IDS[1:]}
    assert (others, cloud.torn, cloud.running()) == ({"succeeded"}, [], {"a"})
    if read == "volume":  # it cannot be known on which server the volume hangs now: nothing is stopped for it
        assert (bench.states()[IDS[0]], cloud.orders) == ("failed", [])
        assert str(WAYS[way]()) in (bench.jobs()[IDS[0]].reason or "")
    else:
        assert bench.states()[IDS[0]] == "succeeded"
    assert good_images(cloud)[1:] == [1, 1, 1]


@pytest.mark.parametrize("way", ["403", "401", "504"])
@pytest.mark.parametrize("lists", [{"volumes", "images"}, {"volumes", "images", "images_by_id"}])
def test_without_any_list_everything_is_seen_by_its_id(bench: Bench, lists: set[str], way: str) -> None:
    bench.load(IDS)
    cloud = BadReads({IDS[0]: ["a"]}, bad=lists, error=WAYS[way], faults={IDS[1]: ["fails"]})
    bench.run(cloud, settings=STOP)
    assert set(bench.states().values()) == {"succeeded"}
    assert (good_images(cloud), cloud.running()) == ([1, 1, 1, 1], {"a"})


@pytest.mark.parametrize("way", ["403", "401"])
@pytest.mark.parametrize("read", ["volumes", "images", "volume", "image"])
def test_two_refusals_in_a_row_are_nothing(bench: Bench, read: str, way: str) -> None:
    bench.load(IDS)
    cloud = BadReads({IDS[0]: ["a"]}, bad={read}, error=WAYS[way], times=2, faults={IDS[1]: ["fails"]})
    bench.run(cloud, settings=STOP)
    assert set(bench.states().values()) == {"succeeded"}
    assert (good_images(cloud), cloud.running()) == ([1, 1, 1, 1], {"a"})


@pytest.mark.parametrize("way", ["403", "504"])
@pytest.mark.parametrize("read", ["volumes", "images", "volume"])
def test_an_export_that_failed_is_found_out_without_one_kind_of_read(
    bench: Bench, read: str, way: str
) -> None:
    bench.load(IDS, options=ImageOptions(timeout_s=1200.0))
    cloud = BadReads({}, bad={read}, error=WAYS[way], faults={IDS[1]: ["fails"], IDS[2]: ["killed"]})
    bench.run(cloud, settings=STOP)
    assert set(bench.states().values()) == {"succeeded"}
    assert good_images(cloud) == [1, 1, 1, 1]


@pytest.mark.parametrize("way", ["403", "504"])
def test_without_a_look_by_name_nothing_is_sent_again_and_the_row_ends(bench: Bench, way: str) -> None:
    """Whether an image of its name is there already is all that could make a second one."""
    bench.load(IDS, options=ImageOptions(timeout_s=600.0))
    cloud = BadReads({}, bad={"images_named"}, error=WAYS[way], faults={IDS[1]: ["fails"]})
    bench.run(cloud, settings=Settings(limits=Limits(poll_interval_s=60.0, settle_s=60.0)))
    assert bench.states() == dict.fromkeys(IDS, "succeeded") | {IDS[1]: "ambiguous"}
    assert len(cloud.posts) == len(IDS)


def test_an_image_that_nobody_may_read_ends_its_row_and_no_other(bench: Bench) -> None:
    bench.load(IDS, options=ImageOptions(timeout_s=600.0))

    class OneHidden(ServedCloud):
        async def get_image(self, image_id: str) -> Any:
            if self.records[image_id]["volume_id"] == IDS[1]:
                raise WAYS["403"]()
            return await super().get_image(image_id)

    cloud = OneHidden({}, faults={IDS[1]: ["fails"], IDS[2]: ["fails"]})
    bench.run(cloud, settings=STOP)
    assert bench.states() == dict.fromkeys(IDS, "succeeded") | {IDS[1]: "failed"}
    assert bench.jobs()[IDS[1]].code == "image_unreadable"


def test_a_list_that_is_cut_short_fails_no_export(bench: Bench) -> None:
    ids = volume_ids(40)
    bench.load(ids)

    class Capped(FakeCloud):
        async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Volume]]:
            async for page in super().volumes(status=status):
                yield page[:25]

    cloud = Capped(upload_s=600.0)
    bench.run(cloud, settings=Settings(limits=Limits(poll_interval_s=30.0)))
    assert set(bench.states().values()) == {"succeeded"}
    assert len(cloud.posts) == 40


def test_reads_that_are_all_refused_for_long_end_the_run(bench: Bench) -> None:
    bench.load(IDS)
    cloud = BadReads({}, bad=set(READS), error=WAYS["403"], upload_s=3000.0)
    began = cloud.server_now_s()
    with pytest.raises(ForbiddenError):
        bench.run(cloud, settings=STOP)
    assert 900.0 <= cloud.server_now_s() - began <= 2000.0
    assert set(bench.states().values()) == {"exporting"}


def test_a_sign_in_that_is_refused_for_long_is_tried_a_few_times_only(bench: Bench) -> None:
    bench.load(IDS)
    signs = []

    def refused() -> AuthenticationError:
        signs.append(1)
        return AuthenticationError("wrong password")

    cloud = BadReads({}, bad=set(READS), error=refused, upload_s=3000.0)
    with pytest.raises(AuthenticationError):
        bench.run(cloud, settings=STOP)
    assert len(signs) <= 20


def test_a_cloud_that_never_answers_again_ends_the_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchexport.engine.polling.AWAY_MAX_S", 1200.0)
    bench.load(IDS)
    cloud = BadReads({}, bad=set(READS), error=WAYS["504"], upload_s=30_000.0)
    with pytest.raises(RunStoppedError, match="answered no poll"):
        bench.run(cloud, settings=STOP)
    assert set(bench.states().values()) == {"exporting"}


def test_two_looks_at_once_end_each_export_once(bench: Bench) -> None:
    """Slow reads and a look from elsewhere: the second one finds what the first one left."""
    import asyncio

    from batchexport.engine.ledger import Breaker, Ledger
    from batchexport.engine.watch import Watcher
    from tests.engine.fast_time import let_pass, run_fast

    bench.load(IDS)
    cloud = FakeCloud(upload_s=20.0)
    bench.run(cloud, settings=Settings(wait=False, limits=LIMITS))
    let_pass(60.0)

    class Slow:
        image = property(lambda self: self)

        def __getattr__(self, name: str) -> Any:
            return getattr(cloud, name)

        async def get_image(self, image_id: str) -> Any:
            await asyncio.sleep(3.0)
            return await cloud.get_image(image_id)

        async def images(self, **asked: Any) -> AsyncIterator[list[Image]]:
            await asyncio.sleep(3.0)
            async for page in cloud.images(**asked):
                yield page

    async def go() -> None:
        async with bench.open() as state:
            work = await state.take(1)
            ledger = Ledger(work, Settings(), Breaker(None))
            ledger.resumed(await work.jobs_in(JobState.EXPORTING), [])
            slow: Any = Slow()
            watcher = Watcher(slow, ledger, Settings())
            await asyncio.gather(watcher.poll(), watcher.poll())
            await state.flush()
            await work.release()

    run_fast(go())
    assert set(bench.states().values()) == {"succeeded"}
