"""Which images of a volume newer ones have made old. Pure: what we recorded, and what the cloud shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from batchexport.config.retention import Retention
from batchexport.model import Image, ImageOptions, TargetKey
from batchexport.plan.image_check import check_image


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a state file that names an image as its own."""

    state_path: Path
    job_id: int


class OurImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that state files of a job record as succeeded: nothing else is ever taken for ours."""

    records: tuple[Recorded, ...]  #: every row that names it; more than one where a file was copied
    run_id: str
    target: TargetKey
    volume_id: str
    image_id: str
    image_name: str
    intent_at: float | None  #: when its request was noted, by the cloud's clock
    asked: ImageOptions  #: of the row and its run
    size_gib: int | None
    image_hash: str | None
    is_proved: bool  #: the cloud gave its id to our own request, or its name holds the id of the run
    is_latest: bool  #: of the night whose images make others old
    in_doubt: bool = False  #: it was asked to be deleted, and nobody knows whether it was


class Fate(StrEnum):
    """What retention makes of an image."""

    RETAINED = "retained"  #: a rule keeps it
    OUTDATED = "outdated"  #: no rule does, and a newer one that is whole stays
    LEFT = "left"  #: it neither counts nor goes


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One image of a volume and what retention makes of it."""

    image: OurImage
    fate: Fate
    words: str
    instead: OurImage | None = None  #: of an outdated one: the newest that stays


def judge(
    ours: Sequence[OurImage],
    images: Mapping[str, Image],
    *,
    rules: Retention,
    defaults: ImageOptions,
    blocked: str | None = None,
) -> list[Judged]:
    """What becomes of one volume's images, the newest first. What the cloud does not show is left out.

    Only images that are proved ours, and whole, count and go; their order is that of the cloud's own times.
    Nothing goes unless the images of the latest night are among them: an image is given up for a better one
    only. `blocked` says why nothing may go at all; None = it may.
    """
    left = {each.image_id: words for each in ours if (words := why_left(each, images, defaults))}
    good = sorted(
        (each for each in ours if each.image_id not in left),
        key=lambda each: _made_at(images[each.image_id]),
        reverse=True,
    )
    judged = [
        Judged(image=each, fate=Fate.LEFT, words=left[each.image_id])
        for each in ours
        if each.image_id in left and each.image_id in images
    ]
    if not good:
        return judged
    why_not = blocked or _not_newer(ours, left)
    times = [_made_at(images[each.image_id]) for each in good]
    kept = rules.kept_by(times)
    for each, at, rule in zip(good, times, kept, strict=True):
        if rule:
            judged.append(Judged(image=each, fate=Fate.RETAINED, words=rule))
        elif why_not or at >= times[0]:
            words = why_not or "no newer image of its volume is there"
            judged.append(Judged(image=each, fate=Fate.LEFT, words=words))
        else:
            words = "newer images of its volume are there"
            judged.append(Judged(image=each, fate=Fate.OUTDATED, words=words, instead=good[0]))
    return judged


def why_left(ours: OurImage, images: Mapping[str, Image], defaults: ImageOptions) -> str | None:
    """Why an image neither counts as one of the newest nor goes; None = it does both."""
    image = images.get(ours.image_id)
    if image is None:
        return "the cloud does not show it"
    if not ours.is_proved:
        return "it was found by its name only: nothing proves that this job made it"
    if not is_ours(ours, image):
        return f"{image.status}, called {image.name!r}: no longer as we made it"
    if image.created_at is None:
        return "the cloud does not tell when it was made"
    if ours.size_gib is None:
        return "the size of its volume is not known: nothing tells whether it is whole"
    return "; ".join(_unlike(ours, image, defaults)) or None


def is_ours(ours: OurImage, image: Image) -> bool:
    """Whether the cloud shows the image as active, and as what we made."""
    return image.status == "active" and image.name == ours.image_name


def _unlike(ours: OurImage, image: Image, defaults: ImageOptions) -> Iterator[str]:
    options = ours.asked.over(defaults)
    for finding in check_image(
        image, options=options, size_gib=ours.size_gib, image_hash=ours.image_hash, name=ours.image_name
    ):
        yield finding.words


def _not_newer(ours: Sequence[OurImage], left: Mapping[str, str]) -> str | None:
    """Why the latest night's image of the volume makes no other old; None = it may."""
    for each in ours:
        if each.is_latest and each.image_id in left:
            return f"the latest night's image {each.image_id} makes none old: {left[each.image_id]}"
    return None if any(each.is_latest for each in ours) else "the latest night made no image of its volume"


def _made_at(image: Image) -> float:
    return image.created_at or 0.0
