"""Which images of a volume are superseded by newer ones. Pure: our records and what the cloud shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

import msgspec

from batchexport.config.retention import Retention
from batchexport.model import Image, ImageOptions, TargetKey
from batchexport.plan.image_checks import check_image
from batchexport.store import StoreRef


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a state file that records an image as its own."""

    state_path: StoreRef
    job_id: int


class OurImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that state files of a job record as succeeded; only those count as ours."""

    records: tuple[Recorded, ...]  #: every row that records it; more than one if a state file was copied
    run_id: str
    target: TargetKey
    volume_id: str
    image_id: str
    image_name: str
    intent_at: float | None  #: when its request was recorded, by the cloud's clock
    asked: ImageOptions  #: options of the row and its run
    size_gib: int | None
    image_hash: str | None
    is_proved: bool  #: the cloud answered our request with its id, or its name contains the run id
    is_latest: bool  #: of the latest night, whose images supersede others
    in_doubt: bool = False  #: its deletion was requested, with unknown outcome
    awaited_by: tuple[str, ...] = ()  #: destinations that it is still to be delivered to


class Fate(StrEnum):
    """What retention decides about an image."""

    RETAINED = "retained"  #: a retention rule keeps it
    SUPERSEDED = "outdated"  #: no rule keeps it, and a newer complete one stays
    IGNORED = "left"  #: it neither counts nor is removed


class Classified(msgspec.Struct, frozen=True, kw_only=True):
    """One image of a volume and what retention decides about it."""

    image: OurImage
    fate: Fate
    words: str
    instead: OurImage | None = None  #: the newest image that stays, if this one is superseded


def classify(
    ours: Sequence[OurImage],
    images: Mapping[str, Image],
    *,
    rules: Retention,
    defaults: ImageOptions,
    blocked: str | None = None,
) -> list[Classified]:
    """Decide about each image of one volume, newest first. Images the cloud does not show are left out.

    Only images that are proved ours and complete count and may go; their order is that of the cloud's own
    times. None goes unless the latest run's image is among them: an image only ever gives way to a better
    one. `blocked` says why none may go at all; None = they may.
    """
    left = {each.image_id: words for each in ours if (words := why_ignored(each, images, defaults))}
    good = sorted(
        (each for each in ours if each.image_id not in left),
        key=lambda each: _made_at(images[each.image_id]),
        reverse=True,
    )
    classified = [
        Classified(image=each, fate=Fate.IGNORED, words=left[each.image_id])
        for each in ours
        if each.image_id in left and each.image_id in images
    ]
    if not good:
        return classified
    why_not = blocked or _not_newer(ours, left)
    times = [_made_at(images[each.image_id]) for each in good]
    kept = rules.kept_by(times)
    for each, at, rule in zip(good, times, kept, strict=True):
        if rule:
            classified.append(Classified(image=each, fate=Fate.RETAINED, words=rule))
        elif why_not or at >= times[0] or each.awaited_by:
            words = why_not or "its volume has no newer image"
            if each.awaited_by:
                words = f"still to be delivered to {', '.join(each.awaited_by)}"
            classified.append(Classified(image=each, fate=Fate.IGNORED, words=words))
        else:
            words = "its volume has newer images"
            classified.append(Classified(image=each, fate=Fate.SUPERSEDED, words=words, instead=good[0]))
    return classified


def why_ignored(ours: OurImage, images: Mapping[str, Image], defaults: ImageOptions) -> str | None:
    """Why an image neither counts nor may go; None = it does and may."""
    image = images.get(ours.image_id)
    if image is None:
        return "the cloud does not show it"
    if not ours.is_proved:
        return "found by its name only: nothing proves that this job made it"
    if not is_ours(ours, image):
        return f"{image.status}, called {image.name!r}: changed since it was made"
    if image.created_at is None:
        return "the cloud does not report when it was made"
    if ours.size_gib is None:
        return "the size of its volume is not known, so it may be incomplete"
    return "; ".join(_mismatches(ours, image, defaults)) or None


def is_ours(ours: OurImage, image: Image) -> bool:
    """Whether the cloud shows the image as active, and as what we made."""
    return image.status == "active" and image.name == ours.image_name


def _mismatches(ours: OurImage, image: Image, defaults: ImageOptions) -> Iterator[str]:
    options = ours.asked.over(defaults)
    for finding in check_image(
        image, options=options, size_gib=ours.size_gib, image_hash=ours.image_hash, name=ours.image_name
    ):
        yield finding.words


def _not_newer(ours: Sequence[OurImage], left: Mapping[str, str]) -> str | None:
    """Why the latest run's image supersedes no other; None = it does."""
    for each in ours:
        if each.is_latest and each.image_id in left:
            return f"the latest run's image {each.image_id} supersedes none: {left[each.image_id]}"
    return None if any(each.is_latest for each in ours) else "the latest run made no image of its volume"


def _made_at(image: Image) -> float:
    return image.created_at or 0.0
