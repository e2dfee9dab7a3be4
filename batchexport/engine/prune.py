"""Pruning: removing images of ours that newer ones of the same volume, proved good, supersede."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import groupby

from batchexport.config.retention import Retention
from batchexport.engine.cleanup import Cleaned, Found, removing
from batchexport.engine.ports import Cloud
from batchexport.errors import AuthenticationError, CloudError, StateInUseError
from batchexport.model import Image, ImageOptions, TargetKey
from batchexport.plan.image_checks import defaults_of
from batchexport.plan.retention import Classified, Fate, OurImage, classify, is_ours, why_ignored
from batchexport.store import StoreRef

log = logging.getLogger(__name__)

#: An image is not older than its request, but the clocks of a cloud's services differ.
CLOCK_MARGIN_S = 86_400.0
_FOUND = {Fate.RETAINED: Found.RETAINED, Fate.IGNORED: Found.KEPT, Fate.SUPERSEDED: Found.LEFT_OVER}


async def prune(
    cloud: Cloud,
    target: TargetKey,
    volumes: Mapping[str, Sequence[OurImage]],
    *,
    rules: Retention,
    blocked: str | None,
    remove: bool,
    now: Callable[[], float],
    is_over: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Cleaned]:
    """What the rules say of each image of these volumes and, with `remove`, what was done about it.

    `blocked`: why nothing may be removed; None = it may. Nothing more is removed once `is_over()`. Costs
    pages of images, and three requests for each removal. Raises CloudError where they cannot be listed.
    """
    ours = [image for images in volumes.values() for image in images]
    images = await _shown(cloud, ours)
    defaults = defaults_of(cloud.dialect)
    superseded: list[Classified] = []
    for each in volumes.values():
        for classified in classify(each, images, rules=rules, defaults=defaults, blocked=blocked):
            if remove and classified.fate is Fate.SUPERSEDED:
                superseded.append(classified)
            else:
                yield Cleaned(image=classified.image, found=_FOUND[classified.fate], reason=classified.words)
    if not remove:
        return
    await _settle(
        cloud, target, [each for each in ours if each.in_doubt and each.image_id not in images], now
    )
    for paths, group in groupby(sorted(superseded, key=_paths_of), key=_paths_of):
        async for done in _remove(cloud, target, paths, list(group), defaults, now=now, is_over=is_over):
            yield done


async def _remove(
    cloud: Cloud,
    target: TargetKey,
    paths: Sequence[StoreRef],
    superseded: Sequence[Classified],
    defaults: ImageOptions,
    *,
    now: Callable[[], float],
    is_over: Callable[[], bool],
) -> AsyncIterator[Cleaned]:
    """Remove images that the same state files name, under their leases."""
    if is_over():
        return
    try:
        async with removing(cloud, paths, target, run_id=_run_id(superseded[0]), now=now) as remover:
            for each in superseded:
                if is_over():
                    return
                found, reason = await _look(cloud, each, defaults)
                if found is Found.LEFT_OVER:
                    why = f"superseded by run {_run_id(each)}"
                    found, reason = await remover.remove(each.image.image_id, each.image.records, why)
                yield Cleaned(image=each.image, found=found, reason=reason)
    except StateInUseError as error:
        for each in superseded:
            yield Cleaned(image=each.image, found=Found.STUCK, reason=str(error))


async def _look(cloud: Cloud, superseded: Classified, defaults: ImageOptions) -> tuple[Found, str]:
    """Read both once more, right before what cannot be undone: the one that stays, then the one to remove."""
    newer, older = superseded.instead, superseded.image
    assert newer is not None
    try:
        stays = await cloud.image.get_image(newer.image_id)
        goes = await cloud.image.get_image(older.image_id)
    except CloudError as error:
        return Found.STUCK, str(error)
    if goes is None:
        return Found.GONE, "gone"
    if stays is None or (why := why_ignored(newer, {newer.image_id: stays}, defaults)):
        return (
            Found.KEPT,
            f"the newer image {newer.image_id}: {why if stays else 'the cloud does not know it'}",
        )
    if not is_ours(older, goes):
        return Found.KEPT, f"{goes.status}, called {goes.name!r}: not as we made it"
    if goes.details is not None and goes.details.protected:
        return Found.KEPT, "it is protected"
    if not _is_older(goes, stays):
        return Found.KEPT, f"it is not older than {newer.image_id}, which would stay"
    return Found.LEFT_OVER, superseded.words


def _is_older(goes: Image, stays: Image) -> bool:
    """By the cloud's own times."""
    if goes.created_at is None or stays.created_at is None or goes.image_id == stays.image_id:
        return False
    return goes.created_at < stays.created_at


async def _settle(
    cloud: Cloud, target: TargetKey, doubtful: Sequence[OurImage], now: Callable[[], float]
) -> None:
    """Note which images are gone whose deletion was requested, without a response, before."""
    for image in doubtful:
        try:
            if await cloud.image.get_image(image.image_id) is not None:
                continue
            paths = [each.state_path for each in image.records]
            async with removing(cloud, paths, target, run_id=image.run_id, now=now) as remover:
                await remover.settle(image.image_id, image.records, Found.GONE, "gone")
        except AuthenticationError:
            raise
        except (StateInUseError, CloudError) as error:  # the next run checks again
            extra = {"action": "deletion_in_doubt", "image_id": image.image_id}
            log.info("image %s: deletion still in doubt (%s)", image.image_id, error, extra=extra)


async def _shown(cloud: Cloud, ours: Sequence[OurImage]) -> dict[str, Image]:
    """Those of our images that the cloud lists, by their ids."""
    if not ours:
        return {}
    ids = {image.image_id for image in ours}
    since_s = min(image.intent_at or 0.0 for image in ours) - CLOCK_MARGIN_S
    found: dict[str, Image] = {}
    async for page in cloud.image.images(created_since=max(0.0, since_s)):
        found.update({image.image_id: image for image in page if image.image_id in ids})
    return found


def _run_id(superseded: Classified) -> str:
    """The run whose image stays."""
    return superseded.image.run_id if superseded.instead is None else superseded.instead.run_id


def _paths_of(superseded: Classified) -> tuple[StoreRef, ...]:
    return tuple(sorted((record.state_path for record in superseded.image.records), key=str))
