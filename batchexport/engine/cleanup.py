"""Left-overs of failed attempts: images of ours that will never be finished, and their removal."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from batchexport.engine.ports import Cloud
from batchexport.errors import CloudError, NotFoundError
from batchexport.plan.retention import OurImage
from batchexport.store import Abandoned

#: Only an image in one of these is a left-over. An active one is somebody's data, whatever we think of it.
UNFINISHED_STATUSES = frozenset({"queued", "saving", "killed"})


class Found(StrEnum):
    """What was found of an abandoned image, or done about it."""

    GONE = "gone"  #: the cloud removed it already
    KEPT = "kept"  #: it is not ours to remove: finished, or its volume is uploading
    LEFT_OVER = "left over"  #: would be removed
    REMOVED = "removed"
    STUCK = "stuck"  #: could not be removed, or not be looked at


class Cleaned(msgspec.Struct, frozen=True, kw_only=True):
    """One abandoned or outdated image and what became of it."""

    image: Abandoned | OurImage
    found: Found
    words: str


async def cleanup(cloud: Cloud, abandoned: Sequence[Abandoned], *, remove: bool) -> list[Cleaned]:
    """Look at images of ended attempts, and with `remove` delete those that are unfinished for good."""
    return [await _clean(cloud, image, remove=remove) for image in abandoned]


async def _clean(cloud: Cloud, abandoned: Abandoned, *, remove: bool) -> Cleaned:
    try:
        found, words = await _look(cloud, abandoned)
        if found is Found.LEFT_OVER and remove:
            await cloud.delete_image(abandoned.image_id)
            found = Found.REMOVED
    except NotFoundError:
        found, words = Found.GONE, "gone"
    except CloudError as error:
        found, words = Found.STUCK, str(error)
    return Cleaned(image=abandoned, found=found, words=words)


async def _look(cloud: Cloud, abandoned: Abandoned) -> tuple[Found, str]:
    """The volume first: while it is uploading, the image may be one that is just being written."""
    volume = await cloud.volume(abandoned.volume_id)
    image = await cloud.image(abandoned.image_id)
    if image is None:
        return Found.GONE, "gone"
    if image.status not in UNFINISHED_STATUSES:
        return Found.KEPT, f"{image.status}: only unfinished images are removed"
    if volume is not None and volume.status == "uploading":
        return Found.KEPT, f"{image.status}, and its volume is uploading"
    return Found.LEFT_OVER, image.status
