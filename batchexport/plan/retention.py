"""Which images of a volume newer ones have made old. Pure: what we recorded, and what the cloud shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from batchexport.model import Image, ImageOptions, TargetKey
from batchexport.plan.image_check import check_image


class OurImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that a state file records as succeeded: nothing else is ever taken for ours."""

    state_path: Path
    run_id: str
    job_id: int
    target: TargetKey
    volume_id: str
    image_id: str
    image_name: str
    made_at: float  #: when the cloud took the export, by this machine's clock
    asked: ImageOptions  #: of the row and its run
    size_gib: int | None
    image_hash: str | None


def surplus(
    ours: Sequence[OurImage], images: Mapping[str, Image], *, keep: int, defaults: ImageOptions
) -> list[OurImage]:
    """Those of one volume's images, newest first, that are beyond the `keep` newest finished ones.

    None unless the newest is there, finished and as it was asked for: an image is given up only for a better
    one. What the cloud does not show as active, under the name we gave it, neither counts nor goes.
    """
    newest = ours[0]
    options = newest.asked.over(defaults)
    image = images.get(newest.image_id)
    if check_image(image, options=options, size_gib=newest.size_gib, image_hash=newest.image_hash):
        return []
    return [each for each in ours if is_finished(each, images.get(each.image_id))][keep:]


def is_finished(ours: OurImage, image: Image | None) -> bool:
    """Whether the cloud shows the image as active, and as what we made."""
    return image is not None and image.status == "active" and image.name == ours.image_name
