"""Clouds as they are: reads lag, lists are short, clocks differ. One observation is never taken as proof."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.config import Limits, Settings
from batchexport.errors import NotFoundError, RefusedError, TransientError
from batchexport.model import NO_OPTIONS, ExportRequest, Image, Job, JobRow, JobState, TargetKey, Volume
from batchexport.store import RunRecord, building
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import EPOCH, FakeCloud
from tests.engine.fast_time import fast_now, let_pass, run_fast
from tests.engine.test_aftercare import reconcile

RUN = "20270115-aaaaaa"


def load_named(bench: Bench, ids: list[str], template: str) -> None:
    """A list whose image names are made from the template."""
    with building(bench.path) as build:
        for line, volume_id in enumerate(ids, 1):
            row = JobRow(
                line=line, volume_id=volume_id, image_name=None, target=TargetKey(), options=NO_OPTIONS
            )
            build.add(row, template.format(volume_id))
        build.finish(
            RunRecord(
                run_id=RUN,
                created_at=EPOCH + fast_now(),
                list_name="list.csv",
                list_sha256="0" * 64,
                rows=len(ids),
                settings="{}",
                version="0",
            )
        )


def one_image_each(bench: Bench, cloud: FakeCloud, ids: list[str]) -> None:
    assert set(bench.states().values()) == {"succeeded"}
    assert {volume_id: len(cloud.good_images_of(volume_id)) for volume_id in ids} == dict.fromkeys(ids, 1)
    for volume_id, job in bench.jobs().items():
        assert cloud.good_images_of(volume_id) == [job.image_id]


class Replica(FakeCloud):
    """Every read is answered by a replica that is `lag_s` behind."""

    def __init__(self, *, lag_s: float, **given: Any) -> None:
        super().__init__(**given)
        self.lag_s = lag_s

    def _seen_at(self) -> float:
        return super().server_now_s() - self.lag_s

    async def get_volume(self, volume_id: str) -> Any:
        self._read("volume")
        return self._volume(volume_id, self._seen_at())

    async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Volume]]:
        self._read("volumes")
        known = dict.fromkeys(record["volume_id"] for record in self.records.values())
        volumes = [volume for each in known if (volume := self._volume(each, self._seen_at()))]
        yield [volume for volume in volumes if status in (None, volume.status)]

    async def get_image(self, image_id: str) -> Any:
        self._read("image")
        return self._image(image_id, self._seen_at()) if image_id in self.records else None

    def _all_images(self) -> list[Image]:
        return [image for each in self.records if (image := self._image(each, self._seen_at()))]


@pytest.mark.parametrize("lag_s", [0.3, 1.0, 7.0, 25.0])
@pytest.mark.parametrize("fault", [None, "lost"])
def test_reads_that_lag_behind_cost_no_second_image(bench: Bench, lag_s: float, fault: str | None) -> None:
    ids = volume_ids(12)
    bench.load(ids)
    cloud = Replica(lag_s=lag_s, upload_s=40.0, faults={each: [fault] for each in ids if fault})
    bench.run(cloud, max_exports=5)
    one_image_each(bench, cloud, ids)
    assert len(cloud.posts) == len(ids)


class Hiding(FakeCloud):
    """An image is missing by its id, in lists, or in both, for some time after it turned up."""

    def __init__(self, *, by_id_s: float = 0.0, in_lists_s: float = 0.0, **given: Any) -> None:
        super().__init__(**given)
        self.by_id_s = by_id_s
        self.in_lists_s = in_lists_s

    def _hidden(self, image_id: str, for_s: float) -> bool:
        hidden: bool = self.server_now_s() < self.records[image_id]["created"] + for_s
        return hidden

    async def get_image(self, image_id: str) -> Any:
        found = await super().get_image(image_id)
        return None if found is None or self._hidden(image_id, self.by_id_s) else found

    def _all_images(self) -> list[Image]:
        return [image for image in super()._all_images() if not self._hidden(image.image_id, self.in_lists_s)]


@pytest.mark.parametrize(
    ("by_id_s", "in_lists_s"), [(65.0, 65.0), (1e9, 0.0), (1e9, 60.0), (60.0, 1e9), (0.0, 1e9), (30.0, 1e9)]
)
def test_an_image_that_one_kind_of_read_does_not_show_is_not_made_again(
    bench: Bench, by_id_s: float, in_lists_s: float
) -> None:
    ids = volume_ids(3)
    bench.load(ids)
    cloud = Hiding(by_id_s=by_id_s, in_lists_s=in_lists_s, upload_s=5.0)
    bench.run(cloud, stop=4000.0)
    assert len(cloud.posts) == len(ids)
    assert all(len(cloud.good_images_of(each)) == 1 for each in ids)


class Slow(FakeCloud):
    """Images turn active long after their volumes are free."""

    def __init__(self, *, word: str, active_after_s: float, **given: Any) -> None:
        super().__init__(**given)
        self.word = word
        self.active_after_s = active_after_s

    def _accept(self, request: ExportRequest, at: float, fault: str | None = None) -> str:
        image_id = super()._accept(request, at, fault)
        self.records[image_id]["active_at"] += self.active_after_s
        self.records[image_id]["stuck"] = self.word
        return image_id


@pytest.mark.parametrize(
    ("word", "active_after_s"), [("importing", 3000.0), ("saving", 3000.0), ("queued", 300.0)]
)
def test_an_image_that_is_finished_long_after_its_volume_is_free_is_waited_for(
    bench: Bench, word: str, active_after_s: float
) -> None:
    ids = volume_ids(2)
    bench.load(ids)
    cloud = Slow(word=word, active_after_s=active_after_s)
    bench.run(cloud)
    one_image_each(bench, cloud, ids)
    assert len(cloud.posts) == 2
    assert not cloud.deleted


def test_an_image_of_a_given_up_attempt_that_turned_active_is_taken_and_nothing_is_sent(bench: Bench) -> None:
    """However late: the look right before the next request finds it."""
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["orphan"]})
    bench.run(cloud, retries=0)
    assert bench.states() == {volume_id: "failed"}
    cloud.records["image-1"] |= {"active_at": cloud.server_now_s(), "stuck": None}
    retry(bench)
    bench.run(cloud)
    one_image_each(bench, cloud, ids)
    assert len(cloud.posts) == 1


def test_nothing_is_sent_while_an_unfinished_image_of_an_earlier_attempt_cannot_be_deleted(
    bench: Bench,
) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["orphan"]})
    cloud.delete_error = RefusedError("image is protected", status=403)
    bench.run(cloud)
    assert bench.states() == {volume_id: "failed"}
    assert "protected" in (bench.jobs()[volume_id].reason or "")
    assert "image-1" in (bench.jobs()[volume_id].reason or "")
    assert len(cloud.posts) == 1


def test_a_deletion_that_is_not_believed_at_once_is_tried_again(bench: Bench) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["orphan"]})
    errors = [TransientError("bad gateway", status=502), NotFoundError("gone", status=404)]

    class Flaky(FakeCloud):
        async def delete_image(self, image_id: str, *, fence: Callable[..., Any]) -> None:
            if errors:
                self.calls["delete_image"] += 1
                raise errors.pop(0)
            await FakeCloud.delete_image(self, image_id, fence=fence)

    cloud.__class__ = Flaky
    bench.run(cloud)
    one_image_each(bench, cloud, ids)
    assert len(cloud.posts) == 2
    assert cloud.deleted == ["image-1"]


class Skewed(FakeCloud):
    """The image service's clock is off by `skew_s` from the other services'."""

    def __init__(self, *, skew_s: float, **given: Any) -> None:
        super().__init__(**given)
        self.skew_s = skew_s

    def _image(self, image_id: str, now: float) -> Image | None:
        image = super()._image(image_id, now)
        if image is None or image.created_at is None or image.updated_at is None:
            return None
        return replace(
            image, created_at=image.created_at + self.skew_s, updated_at=image.updated_at + self.skew_s
        )


@pytest.mark.parametrize("skew_s", [-3 * 86_400.0, -300.0, -65.0, 65.0, 7200.0])
@pytest.mark.parametrize("template", ["nightly-{}", "{}-" + RUN])
@pytest.mark.parametrize(
    ("volumes", "fault", "upload_s"), [(3, "lost", 20.0), (8, "lost", 3.0), (30, None, 20.0)]
)
def test_clocks_that_differ_cost_no_second_image_and_no_row_waits_for_ever(
    bench: Bench, skew_s: float, template: str, volumes: int, fault: str | None, upload_s: float
) -> None:
    ids = volume_ids(volumes)
    load_named(bench, ids, template)
    cloud = Skewed(skew_s=skew_s, upload_s=upload_s, faults={each: [fault] for each in ids if fault})
    bench.run(cloud, stop=6 * 3600.0)
    one_image_each(bench, cloud, ids)
    assert len(cloud.posts) == volumes


def foreign(cloud: FakeCloud, name: str, image_id: str = "foreign") -> None:
    """An image of this name that somebody else made of another volume, just now."""
    cloud.accept_elsewhere(f"their volume of {image_id}", name=name)
    cloud.records[image_id] = cloud.records.pop(f"other-their volume of {image_id}")


@pytest.mark.parametrize("preflight", [True, False])
@pytest.mark.parametrize("fault", ["lost", "lost before", "late"])
def test_an_image_of_the_name_that_was_there_before_is_never_taken(
    bench: Bench, fault: str, preflight: bool
) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: [fault]})
    foreign(cloud, f"{volume_id}-night")
    settings = Settings(limits=Limits(poll_interval_s=5.0), preflight=preflight)
    bench.run(cloud, settings=settings)
    one_image_each(bench, cloud, ids)


def test_an_image_that_somebody_else_made_of_the_name_before_retry_is_left_to_a_person(bench: Bench) -> None:
    """The request of Friday never arrived; on Monday somebody else makes an image of that name."""
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["refused"]})
    bench.run(cloud)
    assert bench.states() == {volume_id: "failed"}
    let_pass(3 * 86_400.0)
    foreign(cloud, f"{volume_id}-night")
    retry(bench)
    bench.run(cloud)
    assert bench.states() == {volume_id: "ambiguous"}
    assert "foreign" in (bench.jobs()[volume_id].reason or "")
    assert len(cloud.posts) == 1


def test_a_request_carried_out_long_after_it_was_given_up_is_found_before_the_next(bench: Bench) -> None:
    """It waited in a proxy for longer than the settling time."""
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["lost before"]})
    ended: list[Any] = []

    def given_up(job: Job, before: JobState, after: JobState) -> None:
        if str(after) == "pending" and not ended:
            ended.append(after)
            cloud.accept_elsewhere(volume_id, name=f"{volume_id}-night")

    bench.run(cloud, on_change=given_up)
    assert ended
    one_image_each(bench, cloud, ids)
    assert len(cloud.posts) == 1


def test_a_state_file_that_was_brought_back_from_a_backup_exports_nothing_again(
    bench: Bench, tmp_path: Path
) -> None:
    ids = volume_ids(6)
    load_named(bench, ids, "{}-" + RUN)
    shutil.copy(bench.path, tmp_path / "backup")
    cloud = FakeCloud()
    bench.run(cloud)
    one_image_each(bench, cloud, ids)
    shutil.copy(tmp_path / "backup", bench.path)
    bench.run(cloud)
    one_image_each(bench, cloud, ids)
    assert len(cloud.posts) == 6


def brought_back(bench: Bench, cloud: FakeCloud, backup: Path, *, begun: int) -> None:
    """Run; a backup made when so many exports had begun then takes the place of the state file."""
    bench.run(
        cloud,
        concurrency=1,
        stop_when=lambda changes: sum(str(after) == "exporting" for *_, after in changes) >= begun,
    )
    shutil.copy(bench.path, backup)
    bench.run(cloud)
    for path in bench.path.parent.glob(f"{bench.path.name}*"):
        path.unlink()
    shutil.copy(backup, bench.path)


@pytest.mark.parametrize("begun", [1, 4])
def test_a_backup_of_a_run_that_had_begun_exports_nothing_again_whatever_the_names(
    bench: Bench, tmp_path: Path, begun: int
) -> None:
    """Names that prove nothing: a person decides on images that came since all were listed."""
    ids = volume_ids(6)
    bench.load(ids)
    cloud = FakeCloud()
    brought_back(bench, cloud, tmp_path / "backup", begun=begun)
    bench.run(cloud)
    assert len(cloud.posts) == 6
    assert sorted(bench.states().values()) == ["ambiguous"] * (6 - begun) + ["succeeded"] * begun
    reason = bench.jobs()[ids[-1]].reason or ""
    assert cloud.good_images_of(ids[-1])[0] in reason
    assert "older copy" in reason
    # Asked what to do, it takes none of them by itself.
    assert {each.state for each in reconcile(bench, cloud)} == {JobState.AMBIGUOUS}


class Missing(FakeCloud):
    """The volume is not found by its id for some time, as a lagging replica has it."""

    def __init__(self, *, until_s: float, **given: Any) -> None:
        super().__init__(**given)
        self.until = EPOCH + fast_now() + until_s

    async def get_volume(self, volume_id: str) -> Any:
        found = await super().get_volume(volume_id)
        return None if self.server_now_s() < self.until else found


@pytest.mark.parametrize("until_s", [1.0, 20.0])
def test_a_volume_that_is_not_found_for_a_moment_fails_no_row_in_doubt(bench: Bench, until_s: float) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = Missing(until_s=until_s, faults={volume_id: ["lost before"]})
    settings = Settings(limits=Limits(poll_interval_s=5.0), preflight=False)
    bench.run(cloud, settings=settings)
    one_image_each(bench, cloud, ids)


def test_a_volume_that_stays_away_fails_its_row(bench: Bench) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["lost before"]})
    cloud.statuses[volume_id] = None
    bench.run(cloud, settings=Settings(limits=Limits(poll_interval_s=5.0), preflight=False))
    assert bench.jobs()[volume_id].code == "volume_not_found"


class Forbidding(FakeCloud):
    """Nobody may look for images of one name."""

    def __init__(self, *, name: str, **given: Any) -> None:
        super().__init__(**given)
        self.name = name

    async def images_named(self, name: str) -> list[Image]:
        if name == self.name:
            raise RefusedError("blocked by the firewall", status=403)
        return await super().images_named(name)


def test_a_row_that_cannot_be_looked_up_keeps_no_other_waiting_and_ends(bench: Bench) -> None:
    ids = volume_ids(3)
    bench.load(ids)
    cloud = Forbidding(name=f"{ids[0]}-night", faults={each: ["lost"] for each in ids})
    bench.run(cloud)
    states = bench.states()
    assert [states[each] for each in ids] == ["ambiguous", "succeeded", "succeeded"]
    assert "firewall" in (bench.jobs()[ids[0]].reason or "")
    assert len(cloud.posts) == 3


def test_one_look_that_shows_no_image_reopens_no_ambiguous_row(bench: Bench) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["twice"]})
    bench.run(cloud)
    assert bench.states() == {volume_id: "ambiguous"}
    let_pass(60.0)  # until its volume is free
    looks: list[Any] = []
    cloud.__class__ = type("Once", (FakeCloud,), {"images_named": once_empty(looks)})
    (found,) = reconcile(bench, cloud)
    assert str(found.state) == "ambiguous"
    assert len(looks) == 2


def once_empty(looks: list[Any]) -> Callable[..., Awaitable[list[Image]]]:
    async def images_named(self: FakeCloud, name: str) -> list[Image]:
        looks.append(name)
        return [] if len(looks) == 1 else await FakeCloud.images_named(self, name)

    return images_named


def retry(bench: Bench) -> None:
    async def go() -> int:
        async with bench.open() as state:
            work = await state.take(1)
            retried = await work.retry()
            await work.release()
            return retried

    assert run_fast(go()) == 1


def test_the_settling_time_begins_when_the_volume_is_free(bench: Bench) -> None:
    """While it is uploading, nobody can tell whether the lost request had its turn."""
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["lost before"]}, upload_s=100.0)

    def begun_elsewhere(job: Job, before: JobState, after: JobState) -> None:
        if str(after) == "submitting" and not cloud.posts:
            cloud.accept_elsewhere(volume_id, name="somebody else's")
            record = cloud.records[f"other-{volume_id}"]
            record["created"] += 10.0

    bench.run(cloud, on_change=begun_elsewhere, settle_s=30.0)
    free_at = cloud.records[f"other-{volume_id}"]["free_at"]
    assert cloud.posts[-1][0] >= free_at + 30.0
    assert bench.states() == {volume_id: "succeeded"}
    assert len(cloud.posts) == 2


class Listless(FakeCloud):
    """Lists show nothing; reads by id and by name show everything."""

    async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Any]]:
        self._read("volumes")
        yield []

    async def images(
        self,
        *,
        status: str | None = None,
        created_since: float | None = None,
        updated_since: float | None = None,
    ) -> AsyncIterator[list[Any]]:
        self._read("images")
        yield []


def test_what_lists_do_not_show_is_read_by_itself_before_a_request_counts_as_lost(bench: Bench) -> None:
    ids = volume_ids(8)  # too many to be read one by one in each look
    bench.load(ids)
    cloud = Listless(faults={each: ["lost"] for each in ids}, upload_s=100.0)
    changes = bench.run(cloud, settings=Settings(limits=Limits(poll_interval_s=5.0), preflight=False))
    one_image_each(bench, cloud, ids)
    assert not [change for change in changes if str(change[2]) == "pending"]


def test_a_volume_that_never_comes_free_ends_its_row_with_the_way_out(bench: Bench) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(statuses={volume_id: "uploading"})
    bench.run(cloud)
    job = bench.jobs()[volume_id]
    assert (str(job.state), job.code) == ("failed", "volume_uploading")
    assert "volume set --state available" in (job.reason or "")


def test_an_image_of_an_earlier_attempt_that_only_a_list_shows_is_taken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["orphan"]})
    bench.run(cloud, retries=0)
    cloud.records["image-1"] |= {"active_at": cloud.server_now_s(), "stuck": None}

    async def nothing(self: FakeCloud, image_id: str) -> None:
        self._read("image")

    monkeypatch.setattr(FakeCloud, "get_image", nothing)
    retry(bench)
    bench.run(cloud)
    one_image_each(bench, cloud, ids)
    assert len(cloud.posts) == 1


def test_an_unfinished_image_that_a_gateway_calls_not_found_is_not_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a moment DELETE and GET by id both answer 404; the list of its name still shows the image."""
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["orphan"]})
    delete, read = FakeCloud.delete_image, FakeCloud.get_image
    away: list[str] = []

    async def delete_image(self: FakeCloud, image_id: str, *, fence: Callable[..., Any]) -> None:
        if not away:
            away.append(image_id)
            raise NotFoundError("no back end", status=404)
        await delete(self, image_id, fence=fence)

    async def get_image(self: FakeCloud, image_id: str) -> Any:
        found = await read(self, image_id)
        if len(away) == 1:
            away.append("once")
            return None
        return found

    monkeypatch.setattr(FakeCloud, "delete_image", delete_image)
    monkeypatch.setattr(FakeCloud, "get_image", get_image)
    bench.run(cloud)
    one_image_each(bench, cloud, ids)
    assert cloud.deleted == ["image-1"]
    assert len(cloud.posts) == 2
