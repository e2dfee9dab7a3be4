"""Clouds that answer lists with what was not asked for."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from batchexport.cloud.image import IDS_PER_REQUEST
from batchexport.engine import decide
from batchexport.errors import RefusedError
from batchexport.model import Image
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import EPOCH, FakeCloud
from tests.engine.fast_time import fast_now

OLD = 300


class HeedlessCloud(FakeCloud):
    """A cloud whose list of images heeds no times, among many images of others."""

    def __init__(self, *, by_id: str = "heeded", **behaviour: Any) -> None:
        super().__init__(upload_s=60.0, **behaviour)
        self.by_id = by_id
        for number in range(OLD):
            self.accept_elsewhere(f"{number:08x}-ffff-4000-8000-000000000000", name=f"old-{number}")
        for record in self.records.values():
            record["created"] = record["active_at"] = record["free_at"] = EPOCH + fast_now() - 90_000

    async def images(
        self,
        *,
        status: str | None = None,
        created_since: float | None = None,
        updated_since: float | None = None,
    ) -> AsyncIterator[list[Image]]:
        self._read("images")
        listed = [image for image in self._all_images() if status in (None, image.status)]
        for begin in range(0, len(listed), 50):
            self.calls["image pages"] += 1
            yield listed[begin : begin + 50]

    async def images_by_id(self, image_ids: Sequence[str]) -> AsyncIterator[list[Image]]:
        for begin in range(0, len(image_ids), decide.IDS_PER_REQUEST):
            self.calls["by id"] += 1
            if self.by_id == "refused":
                raise RefusedError("unknown operator in", status=400)
            asked = image_ids[begin : begin + decide.IDS_PER_REQUEST]
            found = [
                image for image in self._all_images() if self.by_id == "strays" or image.image_id in asked
            ]
            yield found


def run(bench: Bench, cloud: HeedlessCloud) -> Counter[str]:
    bench.load(volume_ids(10))
    bench.run(cloud, concurrency=10, poll_interval_s=5.0, max_exports=10)
    assert set(bench.states().values()) == {"succeeded"}
    return cloud.calls


def test_images_are_asked_for_by_their_ids_where_the_list_heeds_no_times(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    calls = run(bench, HeedlessCloud())
    assert calls["by id"] >= 8
    assert calls["images"] <= 2  # the first look, and perhaps one for names
    assert caplog.text.count("ignores the time filter of image lists") == 1


def test_where_ids_are_not_heeded_either_the_whole_list_is_read(bench: Bench) -> None:
    for behaviour in ("strays", "refused"):
        calls = run(type(bench)(bench.path.with_name(behaviour)), HeedlessCloud(by_id=behaviour))
        assert calls["by id"] == 1
        assert calls["images"] >= 8


def test_a_list_of_few_pages_is_cheaper_than_ids() -> None:
    assert not decide.by_id_is_cheaper(1000, pages=12)
    assert decide.by_id_is_cheaper(1000, pages=13)
    assert not decide.by_id_is_cheaper(1, pages=0)


def test_as_many_ids_are_asked_for_as_the_client_puts_into_a_request() -> None:
    assert decide.IDS_PER_REQUEST == IDS_PER_REQUEST
