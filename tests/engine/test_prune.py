"""What becomes of old images when the cloud, at the second look, is no longer as its list said."""

import pytest
from msgspec.structs import replace

from batchexport.dialect import CINDER
from batchexport.engine import Found
from batchexport.engine.prune import prune
from batchexport.errors import NotFoundError, StateError, UnreachableError
from batchexport.store import StateReader
from tests.plan.test_retention import ours, shown
from tests.store.making import alter, make


class Cloud:
    """Two images of a volume, the second of them old; `second_look` is what a read of it gives."""

    dialect = CINDER

    def __init__(self, second_look=None, *, delete_error=None):
        self.listed = [shown(0), shown(1)]
        self.deleted = []
        self._second_look, self._delete_error = second_look, delete_error

    async def images(self, *, created_since):
        assert created_since < 1000.0 - 80_000
        yield [*self.listed, shown(7)]

    async def image(self, image_id):
        if isinstance(self._second_look, Exception):
            raise self._second_look
        return self._second_look

    async def delete_image(self, image_id):
        if self._delete_error is not None:
            raise self._delete_error
        self.deleted.append(image_id)


@pytest.fixture
def volumes(tmp_path):
    path = make(tmp_path / "old.state")
    return {"v": [replace(ours(number), state_path=path) for number in (0, 1)]}


async def pruned(cloud, volumes):
    found = [each async for each in prune(cloud, volumes, keep=1, remove=True, now=lambda: 5.0)]
    assert [each.image.image_id for each in found] == ["i1"]
    return found[0].found, found[0].words


def notes(volumes):
    with StateReader(volumes["v"][1].state_path) as reader:
        return [(each.image_id, each.outcome) for each in reader.removals()]


async def test_an_old_image_goes(volumes):
    cloud = Cloud(shown(1))
    assert await pruned(cloud, volumes) == (Found.REMOVED, "made old by run run-0")
    assert (cloud.deleted, notes(volumes)) == (["i1"], [("i1", "removed")])


@pytest.mark.parametrize(
    ("second_look", "found", "words"),
    [
        (None, Found.GONE, "gone"),
        (shown(1, name="mine"), Found.KEPT, "active, called 'mine': no longer as we made it"),
        (shown(1, status="deactivated"), Found.KEPT, "deactivated, called 'v-1': no longer as we made it"),
        (shown(1, protected=True), Found.KEPT, "it is protected"),
        (UnreachableError("no way"), Found.STUCK, "no way"),
    ],
)
async def test_what_the_second_look_finds_decides(volumes, second_look, found, words):
    cloud = Cloud(second_look)
    assert await pruned(cloud, volumes) == (found, words)
    assert (cloud.deleted, notes(volumes)) == ([], [])


@pytest.mark.parametrize(
    ("error", "found"), [(NotFoundError("no"), Found.GONE), (UnreachableError("no"), Found.STUCK)]
)
async def test_what_came_of_a_request_is_noted(volumes, error, found):
    assert (await pruned(Cloud(shown(1), delete_error=error), volumes))[0] is found
    assert notes(volumes) == [("i1", found.value)]


async def test_what_cannot_be_noted_is_not_deleted(volumes):
    alter(volumes["v"][1].state_path, "CREATE TABLE removal (of_another_program TEXT)")
    cloud = Cloud(shown(1))
    with pytest.raises(StateError):
        await pruned(cloud, volumes)
    assert cloud.deleted == []


async def test_nothing_is_asked_for_no_volume():
    assert [each async for each in prune(Cloud(), {}, keep=1, remove=True, now=lambda: 5.0)] == []
