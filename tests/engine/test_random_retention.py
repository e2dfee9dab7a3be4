"""Whatever state files and cloud say of the images of a volume, none goes but for a better one that stays."""

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from batchexport.app.retention import _each_once
from batchexport.config.retention import Retention
from batchexport.dialect import CINDER
from batchexport.engine.prune import prune
from batchexport.errors import UnreachableError
from batchexport.model import Image, TargetKey
from batchexport.plan.retention import OurImage, Recorded
from tests.plan.test_retention import GIB, ours, shown
from tests.store.making import make

DAY_S = 86_400.0


class Cloud:
    """Images that change under the looks: whatever is read by its id may be another state than was listed."""

    dialect = CINDER

    @property
    def image(self) -> Any:
        """This one object is the image service, too."""
        return self

    def __init__(self, images: list[Image], chance: random.Random) -> None:
        self.there = {image.image_id: image for image in images}
        self.chance = chance
        self.deleted: dict[Any, Any] = {}  # what was left when an image was deleted, by its id

    async def images(self, *, created_since: float) -> AsyncIterator[list[Image]]:
        yield [image for image in self.there.values() if self.chance.random() < 0.95]

    async def get_image(self, image_id: str) -> Any:
        if self.chance.random() < 0.05:
            raise UnreachableError("no answer")
        if image_id in self.there and self.chance.random() < 0.1:  # somebody is at work on it
            self.there[image_id] = odd(self.chance, int(image_id.removeprefix("i")), self.there.get(image_id))
        return self.there.get(image_id)

    async def delete_image(self, image_id: str, *, fence: Callable[..., Any]) -> None:
        fence()
        gone = self.there.pop(image_id)
        self.deleted[image_id] = gone, list(self.there.values())


def odd(chance: random.Random, number: int, image: Image | None = None) -> Image:
    """An image of a volume of 10 GiB; one in three has something wrong with it."""
    made_at = (
        1_000_000.0 - number * chance.choice([0.0, 0.2, 1.0]) * DAY_S if image is None else image.created_at
    )
    wrong: dict[str, Any] = chance.choice(
        [
            *[{}] * 8,
            {"status": "saving"},
            {"status": "deactivated"},
            {"size_bytes": 0},
            {"size_bytes": 2**20},
            {"name": "renamed"},
        ]
    )
    return shown(number, **({"created_at": made_at} | wrong))


def is_whole(image: Image, records: dict[str, OurImage]) -> bool:
    record = records.get(image.image_id)
    return (
        record is not None
        and image.status == "active"
        and image.size_bytes == 10 * GIB
        and image.name == record.image_name
    )


async def prune_at_random(seed: int, path: Path) -> tuple[dict[str, OurImage], Cloud]:
    chance = random.Random(seed)
    count = chance.randrange(1, 9)
    recorded = [
        ours(
            number,
            records=(Recorded(state_path=path, job_id=1),),
            is_proved=chance.random() < 0.85,
            size_gib=chance.choice([10, 10, 10, 10, None]),
        )
        for number in range(count)
    ]
    recorded += chance.sample(recorded, chance.randrange(0, 2))  # a file was copied
    cloud = Cloud([odd(chance, number) for number in range(count) if chance.random() < 0.95], chance)
    keep: dict[str, Any] = {
        name: chance.choice([None, 1, 2, 3]) for name in ("keep_daily", "keep_weekly", "keep_monthly")
    }
    rules = Retention(
        **keep,
        keep_last=chance.choice([1, 1, 2, 3]),
    )
    volumes = {"v": _each_once(recorded)}
    fake: Any = cloud
    pruned = prune(fake, TargetKey(), volumes, rules=rules, blocked=None, remove=True, now=lambda: 5.0)
    _ = [each async for each in pruned]
    return {each.image_id: each for each in volumes["v"]}, cloud


@pytest.mark.parametrize("block", range(4))
async def test_what_goes_is_ours_and_a_younger_whole_image_of_ours_stays(tmp_path: Path, block: int) -> None:
    path, gone = make(tmp_path / "a.state"), 0
    for seed in range(block * 50, block * 50 + 50):
        records, cloud = await prune_at_random(seed, path)
        for image_id, (image, left) in cloud.deleted.items():
            assert records[image_id].is_proved, seed
            better = [
                each
                for each in left
                if is_whole(each, records)
                and records[each.image_id].is_proved
                and each.created_at > image.created_at
            ]
            assert better, seed
            assert is_whole(image, records) or image.status == "active", seed
        gone += len(cloud.deleted)
    assert gone  # else nothing was tried
