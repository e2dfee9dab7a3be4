"""Removing the images of a volume that newer ones have made old; only ours, each noted before and after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from batchexport.engine.cleanup import Cleaned, Found
from batchexport.engine.ports import Cloud
from batchexport.errors import CloudError, NotFoundError
from batchexport.model import Image
from batchexport.plan.retention import OurImage, is_finished, surplus
from batchexport.plan.verify import defaults_of
from batchexport.store.removals import RemovalLog

#: `made_at` is by this machine's clock, an image's time by the cloud's: so far they may be apart.
CLOCK_MARGIN_S = 86_400.0


async def prune(
    cloud: Cloud,
    volumes: Mapping[str, Sequence[OurImage]],
    *,
    keep: int,
    remove: bool,
    now: Callable[[], float],
) -> AsyncIterator[Cleaned]:
    """What is found of each image beyond the `keep` newest of its volume, and with `remove` done about it.

    `volumes` holds our images of each volume, the newest first. Asks for pages of images. Raises CloudError
    where they cannot be listed.
    """
    images = await _shown(cloud, {image.image_id: image for ours in volumes.values() for image in ours})
    for ours in volumes.values():
        for image in surplus(ours, images, keep=keep, defaults=defaults_of(cloud.dialect)):
            found, words = await _look(cloud, image)
            if found is Found.LEFT_OVER and remove:
                found, words = await _remove(cloud, image, run_id=ours[0].run_id, now=now)
            yield Cleaned(image=image, found=found, words=words)


async def _shown(cloud: Cloud, ours: Mapping[str, OurImage]) -> dict[str, Image]:
    """Those of our images that the cloud lists, by their ids."""
    if not ours:
        return {}
    since_s = min(image.made_at for image in ours.values()) - CLOCK_MARGIN_S
    found: dict[str, Image] = {}
    async for page in cloud.images(created_since=since_s):
        found.update({image.image_id: image for image in page if image.image_id in ours})
    return found


async def _look(cloud: Cloud, ours: OurImage) -> tuple[Found, str]:
    """One more look, right before what cannot be undone."""
    try:
        image = await cloud.image(ours.image_id)
    except CloudError as error:
        return Found.STUCK, str(error)
    if image is None:
        return Found.GONE, "gone"
    if not is_finished(ours, image):
        return Found.KEPT, f"{image.status}, called {image.name!r}: no longer as we made it"
    if image.details is not None and image.details.protected:
        return Found.KEPT, "it is protected"
    return Found.LEFT_OVER, "newer images of its volume are there"


async def _remove(
    cloud: Cloud, ours: OurImage, *, run_id: str, now: Callable[[], float]
) -> tuple[Found, str]:
    """Delete the image. Raises StateError where that cannot be noted first: then it stays."""
    with RemovalLog(ours.state_path) as notes:
        removal_id = notes.asked(ours.job_id, ours.image_id, run_id=run_id, at_s=now())
        try:
            await cloud.delete_image(ours.image_id)
            found, words = Found.REMOVED, f"made old by run {run_id}"
        except NotFoundError:
            found, words = Found.GONE, "gone"
        except CloudError as error:
            found, words = Found.STUCK, str(error)
        notes.answered(removal_id, found.value, words, at_s=now())
    return found, words
