"""What becomes of old images when the cloud, at the second look, is no longer as its list said."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.config.retention import Retention
from batchexport.dialect import CINDER
from batchexport.engine import Found
from batchexport.engine.prune import prune
from batchexport.errors import LeaseLostError, NotFoundError, StateError, UnreachableError
from batchexport.model import Image, TargetKey
from batchexport.plan.retention import Recorded
from batchexport.store import StateFile, StateReader
from batchexport.store.sqlite.work import SqliteWork
from tests.plan.test_retention import ours, shown
from tests.store.making import alter, make

HERE = TargetKey()


class Cloud:
    """Two images of a volume, the second of them old; `looks` is what a read of each gives, by its id."""

    dialect = CINDER

    @property
    def image(self) -> Any:
        """This one object is the image service, too."""
        return self

    def __init__(
        self,
        looks: dict[str, Any] | None = None,
        *,
        delete_error: NotFoundError | UnreachableError | None = None,
        at_delete: Callable[..., Awaitable[None]] | None = None,
    ) -> None:
        self.listed = [shown(0), shown(1)]
        self.deleted: list[Any] = []
        self._looks = {"i0": shown(0), "i1": shown(1)} | (looks or {})
        self._delete_error, self._at_delete = delete_error, at_delete

    async def images(self, *, created_since: float) -> AsyncIterator[list[Image]]:
        assert created_since < 200_000.0 - 80_000
        yield [*self.listed, shown(7)]

    async def get_image(self, image_id: str) -> Any:
        look = self._looks[image_id]
        if isinstance(look, Exception):
            raise look
        return look

    async def delete_image(self, image_id: str, *, fence: Callable[..., Any]) -> None:
        if self._at_delete is not None:
            await self._at_delete()
        fence()
        if self._delete_error is not None:
            raise self._delete_error
        self.deleted.append(image_id)


@pytest.fixture
def volumes(tmp_path: Path) -> dict[str, Any]:
    """Image 0, of the latest night, and image 1, which the file `old.state` records."""
    paths = {number: make(tmp_path / name) for number, name in ((0, "new.state"), (1, "old.state"))}
    return {
        "v": [
            replace(ours(number), records=(Recorded(state_path=paths[number], job_id=1),))
            for number in (0, 1)
        ]
    }


def path_of(volumes: dict[str, Any]) -> Path:
    path: Path = volumes["v"][1].records[0].state_path
    return path


def rules(keep: int = 1) -> Retention:
    return Retention(keep_last=keep)


async def results(
    cloud: Any, volumes: dict[str, Any], *, remove: bool = True, **how: Any
) -> dict[str, tuple[Found, str]]:
    pruned = prune(
        cloud,
        HERE,
        volumes,
        rules=rules(),
        blocked=how.pop("blocked", None),
        remove=remove,
        now=lambda: 5.0,
        **how,
    )
    return {each.image.image_id: (each.found, each.reason) async for each in pruned}


async def pruned(cloud: Cloud, volumes: dict[str, Any]) -> tuple[Found, str]:
    found = await results(cloud, volumes)
    assert found["i0"] == (Found.RETAINED, "keep_last = 1")
    return found["i1"]


def notes(path: Path) -> list[tuple[str, str | None]]:
    with StateReader(path) as reader:
        return [(each.image_id, each.outcome) for each in reader.removals()]


async def test_an_old_image_goes(volumes: dict[str, Any]) -> None:
    cloud = Cloud()
    assert await pruned(cloud, volumes) == (Found.REMOVED, "superseded by run run-0")
    assert (cloud.deleted, notes(path_of(volumes))) == (["i1"], [("i1", "removed")])
    assert notes(volumes["v"][0].records[0].state_path) == []


@pytest.mark.parametrize(
    ("looks", "found", "words"),
    [
        ({"i1": None}, Found.GONE, "gone"),
        (
            {"i1": shown(1, name="mine")},
            Found.KEPT,
            "active, called 'mine': not as we made it",
        ),
        (
            {"i1": shown(1, status="deactivated")},
            Found.KEPT,
            "deactivated, called 'v-1': not as we made it",
        ),
        ({"i1": shown(1, protected=True)}, Found.KEPT, "it is protected"),
        ({"i1": shown(1, created_at=200_000.0)}, Found.KEPT, "it is not older than i0, which would stay"),
        ({"i1": UnreachableError("no way")}, Found.STUCK, "no way"),
        ({"i0": UnreachableError("no way")}, Found.STUCK, "no way"),
        ({"i0": None}, Found.KEPT, "the newer image i0: the cloud does not know it"),
        ({"i0": shown(0, size_bytes=2**20)}, Found.KEPT, "the newer image i0: it holds 1,048,576 bytes"),
        ({"i0": shown(0, status="deactivated")}, Found.KEPT, "the newer image i0: deactivated"),
    ],
)
async def test_what_the_second_look_at_both_finds_decides(
    volumes: dict[str, Any], looks: dict[str, Any], found: Found, words: str
) -> None:
    cloud = Cloud(looks)
    was, said = await pruned(cloud, volumes)
    assert was is found
    assert said.startswith(words)
    assert (cloud.deleted, notes(path_of(volumes))) == ([], [])


@pytest.mark.parametrize(
    ("error", "found"), [(NotFoundError("no"), Found.GONE), (UnreachableError("no"), Found.STUCK)]
)
async def test_what_came_of_a_request_is_noted(
    volumes: dict[str, Any], error: NotFoundError | UnreachableError, found: Found
) -> None:
    assert (await pruned(Cloud(delete_error=error), volumes))[0] is found
    assert notes(path_of(volumes)) == [("i1", found.value)]


async def test_what_cannot_be_noted_is_not_deleted(volumes: dict[str, Any]) -> None:
    alter(path_of(volumes), "ALTER TABLE operation RENAME COLUMN run_id TO of_another_program")
    cloud = Cloud()
    with pytest.raises(StateError):
        await pruned(cloud, volumes)
    assert cloud.deleted == []


async def test_an_image_whose_state_file_is_at_work_stays(volumes: dict[str, Any]) -> None:
    async with StateFile.open(path_of(volumes)) as state:
        work = await state.take(1)
        cloud = Cloud()
        found, words = await pruned(cloud, volumes)
        await work.release()
    assert found is Found.STUCK
    assert "in use by process" in words
    assert cloud.deleted == []


async def test_a_process_that_was_taken_over_deletes_nothing(
    volumes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the note and the request, another process takes the target, and the renewal finds out."""
    monkeypatch.setattr("batchexport.engine.cleanup._RENEW_EVERY_S", 0.01)

    async def taken_over() -> None:
        alter(path_of(volumes), "UPDATE target SET epoch = epoch + 1")
        await asyncio.sleep(0.3)

    cloud = Cloud(at_delete=taken_over)
    with pytest.raises(LeaseLostError):
        await pruned(cloud, volumes)
    assert cloud.deleted == []
    assert notes(path_of(volumes)) == [("i1", None)]


async def test_nothing_is_deleted_once_the_lease_has_run_out(
    volumes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteWork, "fresh", property(lambda _: False))
    cloud = Cloud()
    with pytest.raises(LeaseLostError, match="ran out"):
        await pruned(cloud, volumes)
    assert cloud.deleted == []


async def test_a_request_without_an_answer_is_settled_by_the_next_look(volumes: dict[str, Any]) -> None:
    async def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await pruned(Cloud(at_delete=killed), volumes)
    path = path_of(volumes)
    assert notes(path) == [("i1", None)]
    doubtful = {"v": [volumes["v"][0], replace(volumes["v"][1], in_doubt=True)]}
    gone = Cloud({"i1": None})
    gone.listed = [shown(0)]
    assert list(await results(gone, doubtful)) == ["i0"]
    assert notes(path) == [("i1", "gone")]


async def test_an_image_in_doubt_that_cannot_be_read_keeps_no_other_from_going(
    volumes: dict[str, Any],
) -> None:
    doubtful = replace(ours(7), in_doubt=True, volume_id="w", image_id="i9")
    cloud = Cloud({"i9": UnreachableError("no way")})
    found = await results(cloud, {**volumes, "w": [doubtful]})
    assert found["i1"][0] is Found.REMOVED


async def test_a_request_without_an_answer_is_made_again_where_the_image_is_there(
    volumes: dict[str, Any],
) -> None:
    async def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await pruned(Cloud(at_delete=killed), volumes)
    await pruned(Cloud(), volumes)
    assert notes(path_of(volumes)) == [("i1", "stuck"), ("i1", "removed")]


async def test_an_image_that_two_files_name_is_noted_in_both(volumes: dict[str, Any], tmp_path: Path) -> None:
    copy = make(tmp_path / "copy.state")
    both = (*volumes["v"][1].records, Recorded(state_path=copy, job_id=1))
    two = {"v": [volumes["v"][0], replace(volumes["v"][1], records=both)]}
    cloud = Cloud()
    await pruned(cloud, two)
    assert cloud.deleted == ["i1"]
    assert notes(copy) == notes(path_of(volumes)) == [("i1", "removed")]


async def test_nothing_goes_once_the_time_is_over(volumes: dict[str, Any]) -> None:
    cloud = Cloud()
    assert list(await results(cloud, volumes, is_over=lambda: True)) == ["i0"]
    assert cloud.deleted == []


async def test_without_a_word_all_is_only_shown(volumes: dict[str, Any]) -> None:
    cloud = Cloud()
    found = await results(cloud, volumes, remove=False)
    assert found["i1"] == (Found.LEFT_OVER, "its volume has newer images")
    found = await results(cloud, volumes, remove=False, blocked="x.state: damaged")
    assert found["i1"] == (Found.KEPT, "x.state: damaged")
    assert cloud.deleted == []


async def test_a_removal_is_no_time_of_work(volumes: dict[str, Any]) -> None:
    await pruned(Cloud(), volumes)
    with StateReader(path_of(volumes)) as reader:
        assert reader.processes().periods == []


async def test_nothing_is_asked_for_no_volume() -> None:
    assert await results(Cloud(), {}) == {}
