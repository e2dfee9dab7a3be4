"""Two answers that contradict each other, and one that is missing: the better witness counts, and it ends."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.config import Limits, Settings
from batchexport.errors import AuthenticationError, ForbiddenError, NotFoundError, TransientError
from batchexport.model import Accepted, ExportRequest, Image, ImageOptions, Volume
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import FakeCloud
from tests.engine.fast_time import fast_now
from tests.engine.test_aftercare import reconcile
from tests.engine.test_evidence import one_image_each, retry

UNSEEN = Settings(limits=Limits(poll_interval_s=5.0), preflight=False)


class Unlisted(FakeCloud):
    """Some lists are never answered."""

    def __init__(
        self, *, lists: tuple[str, ...], error: TransientError | ForbiddenError, **given: Any
    ) -> None:
        super().__init__(**given)
        self.lists = lists
        self.list_error = error

    async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Volume]]:
        if "volumes" in self.lists:
            raise self.list_error
        async for page in super().volumes(status=status):
            yield page

    async def images(self, **asked: Any) -> AsyncIterator[list[Image]]:
        if "images" in self.lists:
            raise self.list_error
        async for page in super().images(**asked):
            yield page


@pytest.mark.parametrize("lists", [("volumes",), ("images",), ("volumes", "images")])
@pytest.mark.parametrize(
    "error", [TransientError("gateway time-out", status=504), ForbiddenError("forbidden", status=403)]
)
@pytest.mark.parametrize("fault", ["lost", "lost before"])
def test_requests_in_doubt_are_settled_by_ids_where_lists_are_not_answered(
    bench: Bench, lists: tuple[str, ...], error: TransientError | ForbiddenError, fault: str
) -> None:
    ids = volume_ids(8)
    bench.load(ids)
    cloud = Unlisted(lists=lists, error=error, faults={each: [fault] for each in ids})
    began = fast_now()
    bench.run(cloud, settings=UNSEEN)
    one_image_each(bench, cloud, ids)
    assert fast_now() - began < 900.0


@pytest.mark.parametrize("volumes", [1, 8])
def test_a_volume_that_is_not_there_fails_its_row_where_volumes_cannot_be_listed(
    bench: Bench, volumes: int
) -> None:
    ids = volume_ids(volumes)
    bench.load(ids)
    error = TransientError("gateway time-out", status=504)
    cloud = Unlisted(
        lists=("volumes",),
        error=error,
        faults={each: ["lost before"] for each in ids},
        statuses=dict.fromkeys(ids),
    )
    began = fast_now()
    bench.run(cloud, settings=UNSEEN)
    assert {(str(job.state), job.code) for job in bench.jobs().values()} == {("failed", "volume_not_found")}
    assert 600.0 < fast_now() - began < 900.0


@pytest.mark.parametrize("volumes", [1, 8])
def test_a_cloud_that_is_away_for_hours_makes_no_request_in_doubt_ambiguous(
    bench: Bench, volumes: int
) -> None:
    ids = volume_ids(volumes)
    bench.load(ids, options=ImageOptions(timeout_s=600.0))
    cloud = FakeCloud(faults={each: ["lost"] for each in ids})
    back_at = cloud.server_now_s() + 2 * 3600.0

    class Away(FakeCloud):
        def _read(self, call: str) -> None:
            super()._read(call)
            if self.posts and self.server_now_s() < back_at:
                raise TransientError("bad gateway", status=502)

    cloud.__class__ = Away
    bench.run(cloud, settings=UNSEEN)
    one_image_each(bench, cloud, ids)


class Invisible(FakeCloud):
    """A volume is in the list and cannot be found by its id."""

    async def get_volume(self, volume_id: str) -> None:
        self._read("volume")

    async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Volume]]:
        self._read("volumes")
        found = [self._volume(each, self.server_now_s()) for each in volume_ids(3)]
        volumes = [volume for volume in found if volume is not None]
        yield [volume for volume in volumes if status in (None, volume.status)]


@pytest.mark.parametrize("fault", ["lost before", "lost"])
def test_a_volume_that_only_a_list_shows_is_there(bench: Bench, fault: str) -> None:
    ids = volume_ids(3)
    bench.load(ids)
    cloud = Invisible(faults={ids[0]: [fault]})
    bench.run(cloud, settings=UNSEEN)
    one_image_each(bench, cloud, ids)


class Moody(FakeCloud):
    """What the next read of a volume by its id answers, if it is not the truth."""

    def __init__(self, *, reads: list[None] | tuple[Any, ...] = (), **given: Any) -> None:
        super().__init__(**given)
        self.reads = list(reads)

    async def get_volume(self, volume_id: str) -> Any:
        found = await super().get_volume(volume_id)
        return found if not self.reads else self.reads.pop(0)


def test_a_volume_whose_status_forbids_its_export_is_there(bench: Bench) -> None:
    """Only block storage that knows a volume can say of it that it must be available."""
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = Moody(reads=[None])
    cloud.accept_elsewhere(volume_id, name="somebody else's")
    cloud.records[f"other-{volume_id}"]["free_at"] += 60.0
    bench.run(cloud, settings=UNSEEN)
    assert bench.states() == {volume_id: "succeeded"}
    assert len(cloud.good_images_of(volume_id)) == 2


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("authentication required", method="DELETE", status=401),
        ForbiddenError("one node's policy is older", method="DELETE", status=403),
    ],
)
def test_one_refused_deletion_fails_no_row(bench: Bench, error: AuthenticationError | ForbiddenError) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["orphan"]})
    errors = [error]

    class Flapping(FakeCloud):
        async def delete_image(self, image_id: str, *, fence: Callable[..., Any]) -> None:
            if errors:
                raise errors.pop()
            await super().delete_image(image_id, fence=fence)

    cloud.__class__ = Flapping
    bench.run(cloud)
    one_image_each(bench, cloud, ids)
    assert cloud.deleted == ["image-1"]


def test_an_unfinished_image_that_another_read_shows_complete_is_taken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["orphan"]})
    bench.run(cloud, retries=0)
    cloud.records["image-1"] |= {"active_at": cloud.server_now_s(), "stuck": None}
    truly, late = FakeCloud.get_image, [True]

    async def get_image(self: FakeCloud, image_id: str) -> Any:
        found = await truly(self, image_id)
        return replace(found, status="saving") if found and late and late.pop() else found

    monkeypatch.setattr(FakeCloud, "get_image", get_image)
    retry(bench)
    bench.run(cloud)
    one_image_each(bench, cloud, ids)
    assert (len(cloud.posts), cloud.deleted) == (1, [])


class HalfBlind(FakeCloud):
    """Lists show no image, and block storage is away or says `uploading` for ever."""

    def __init__(self, *, answers: bool, **given: Any) -> None:
        super().__init__(**given)
        self.answers = answers

    async def images(self, **asked: Any) -> AsyncIterator[list[Any]]:
        self._read("images")
        yield []

    async def get_volume(self, volume_id: str) -> Any:
        if self.answers:
            return Volume(volume_id=volume_id, status="uploading", size_gib=10)
        raise TransientError("service unavailable", status=503)

    async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Volume]]:
        if not self.answers:
            raise TransientError("service unavailable", status=503)
        yield [Volume(volume_id=each, status="uploading", size_gib=10) for each in volume_ids(2)]


@pytest.mark.parametrize("answers", [True, False])
def test_an_image_that_is_read_active_at_the_deadline_is_the_result(bench: Bench, answers: bool) -> None:
    ids = volume_ids(2)
    bench.load(ids, options=ImageOptions(timeout_s=600.0))
    cloud = HalfBlind(answers=answers)
    bench.run(cloud, settings=UNSEEN)
    one_image_each(bench, cloud, ids)


def test_an_ambiguous_row_that_cannot_be_looked_at_keeps_no_other_from_being_reconciled(bench: Bench) -> None:
    ids = volume_ids(3)
    bench.load(ids)
    cloud = FakeCloud(faults={each: ["twice"] for each in ids})
    bench.run(cloud)
    for each in ids:
        del cloud.records[cloud.exports_of(each)[0]]

    class Odd(FakeCloud):
        async def get_volume(self, volume_id: str) -> Any:
            if volume_id == ids[0]:
                raise ForbiddenError("blocked by a policy", method="GET", status=403)
            return await super().get_volume(volume_id)

    cloud.__class__ = Odd
    found = reconcile(bench, cloud)
    assert [str(each.state) for each in found] == ["ambiguous", "exporting", "exporting"]
    assert "policy" in found[0].reason


def test_an_export_that_is_not_found_again_and_again_fails_in_the_clouds_words(bench: Bench) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)

    class Lost(FakeCloud):
        async def upload_volume_to_image(
            self, request: ExportRequest, *, fence: Callable[..., Any]
        ) -> Accepted:
            fence()
            self.posts.append((fast_now(), request.volume_id))
            raise NotFoundError("no back end for this path", method="POST", status=404)

    cloud = Lost()
    bench.run(cloud, settings=UNSEEN)
    job = bench.jobs()[volume_id]
    assert str(job.state) == "failed"
    assert len(cloud.posts) > 1
    assert "no back end" in (job.reason or "")


def test_who_is_refused_to_look_by_name_waits_for_no_deadline(bench: Bench) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = FakeCloud(faults={volume_id: ["fails"]})

    async def images_named(name: str) -> list[Image]:
        raise ForbiddenError("blocked by a policy", method="GET", status=403)

    cloud.images_named = images_named
    began = fast_now()
    bench.run(cloud, retries=0)
    assert (bench.states(), bench.jobs()[volume_id].code) == ({volume_id: "failed"}, "image_gone")
    assert fast_now() - began < 600.0


def test_a_volume_that_is_uploading_by_its_id_is_so_though_no_list_shows_it(bench: Bench) -> None:
    ids = volume_ids(2)
    bench.load(ids)

    class Listless(FakeCloud):
        async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Any]]:
            self._read("volumes")
            yield []

    cloud = Listless(upload_s=1500.0)
    bench.run(cloud, settings=UNSEEN)
    one_image_each(bench, cloud, ids)
    assert len(cloud.posts) == 2


class Flickering(FakeCloud):
    """The image is imported for long, is not found by its id, and by its name not for a while."""

    async def get_image(self, image_id: str) -> None:
        self._read("image")

    async def images_named(self, name: str) -> list[Image]:
        age_s = self.server_now_s() - min(record["created"] for record in self.records.values())
        return [] if 85.0 < age_s < 135.0 else await super().images_named(name)

    def _accept(self, request: ExportRequest, at: float, fault: str | None = None) -> str:
        image_id = super()._accept(request, at, fault)
        self.records[image_id] |= {"active_at": at + 3000.0, "stuck": "importing"}
        return image_id


def test_what_was_contradicted_once_must_be_seen_anew_for_its_whole_time(bench: Bench) -> None:
    (volume_id,) = ids = volume_ids(1)
    bench.load(ids)
    cloud = Flickering(upload_s=5.0)
    changes = bench.run(cloud)
    one_image_each(bench, cloud, ids)
    assert (volume_id, "exporting", "pending") not in changes
