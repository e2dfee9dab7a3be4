from pathlib import Path

import pytest

from batchexport.dialect import CINDER
from batchexport.model import Image, ImageDetails, ImageOptions, TargetKey
from batchexport.plan.retention import OurImage, surplus
from batchexport.plan.verify import defaults_of

DEFAULTS = defaults_of(CINDER)


def ours(number, **changes):
    """Image `number` of a volume; the newest is 0."""
    told = {
        "state_path": Path(f"{number}.state"),
        "run_id": f"run-{number}",
        "job_id": 1,
        "target": TargetKey(),
        "volume_id": "v",
        "image_id": f"i{number}",
        "image_name": f"v-{number}",
        "made_at": 1000.0 - number,
        "asked": ImageOptions(),
        "size_gib": 10,
        "image_hash": None,
    }
    return OurImage(**{**told, **changes})


def shown(number, *, status="active", name=None, **details):
    told = ImageDetails(**{"disk_format": "raw", "container_format": "bare", **details})
    return Image(image_id=f"i{number}", name=name or f"v-{number}", status=status, details=told)


def left_over(generations, images, keep):
    by_id = {image.image_id: image for image in images}
    return [each.image_id for each in surplus(generations, by_id, keep=keep, defaults=DEFAULTS)]


FOUR = [ours(number) for number in range(4)]


@pytest.mark.parametrize(("keep", "gone"), [(1, ["i1", "i2", "i3"]), (3, ["i3"]), (4, []), (9, [])])
def test_the_newest_stay(keep, gone):
    assert left_over(FOUR, [shown(number) for number in range(4)], keep) == gone


@pytest.mark.parametrize(
    "newest",
    [
        None,
        shown(0, status="saving"),
        shown(0, disk_format="qcow2"),
        shown(0, virtual_bytes=5 * 2**30),
    ],
    ids=["gone", "unfinished", "of another format", "too short"],
)
def test_nothing_goes_unless_the_newest_is_as_it_should_be(newest):
    images = [shown(number) for number in range(1, 4)]
    assert left_over(FOUR, images + ([newest] if newest else []), 1) == []


def test_nothing_goes_when_the_newest_is_not_the_one_whose_hash_was_recorded():
    generations = [ours(0, image_hash="sha512:aa"), ours(1)]
    images = [shown(0, hash="sha512:bb"), shown(1)]
    assert left_over(generations, images, 1) == []
    assert left_over(generations, [shown(0, hash="sha512:aa"), shown(1)], 1) == ["i1"]


@pytest.mark.parametrize(
    "odd",
    [None, shown(1, status="deactivated"), shown(1, status="killed"), shown(1, name="mine now")],
    ids=["gone", "deactivated", "killed", "renamed"],
)
def test_what_is_no_longer_as_we_made_it_neither_counts_nor_goes(odd):
    images = [shown(0), shown(2), shown(3)] + ([odd] if odd else [])
    assert left_over(FOUR, images, 2) == ["i3"]
    assert left_over(FOUR, images, 1) == ["i2", "i3"]
