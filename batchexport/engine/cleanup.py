"""Left-overs of failed attempts: images of ours that will never be finished, and their removal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from batchexport.engine.ports import Cloud
from batchexport.engine.removal import Found, Remover, removing
from batchexport.errors import CloudError, RefusedError, SignInError
from batchexport.model import TargetKey
from batchexport.plan.retention import OurImage, Recorded
from batchexport.store import Abandoned

#: Only an image in one of these is a left-over. An active one is somebody's data, whatever we think of it.
UNFINISHED_STATUSES = frozenset({"queued", "saving", "killed"})


class Cleaned(msgspec.Struct, frozen=True, kw_only=True):
    """One abandoned or outdated image and what became of it."""

    image: Abandoned | OurImage
    found: Found
    words: str


async def cleanup(cloud: Cloud, abandoned: Sequence[Abandoned]) -> list[Cleaned]:
    """Look at images of ended attempts: which of them are unfinished for good."""
    return [await _clean(cloud, image, None, Path()) for image in abandoned]


async def clean_up(
    cloud: Cloud,
    target: TargetKey,
    abandoned: Sequence[Abandoned],
    state_path: Path,
    *,
    run_id: str,
    now: Callable[[], float],
) -> list[Cleaned]:
    """Delete those that are unfinished for good, under the lease of the state file that names them.

    Raises StateInUseError while another process works on it: then none is touched.
    """
    async with removing(cloud, [state_path], target, run_id=run_id, now=now) as remover:
        return [await _clean(cloud, image, remover, state_path) for image in abandoned]


async def _clean(cloud: Cloud, abandoned: Abandoned, remover: Remover | None, state_path: Path) -> Cleaned:
    try:
        found, words = await _look(cloud, abandoned)
    except CloudError as error:
        found, words = Found.STUCK, str(error)
    if remover is not None:
        records = [Recorded(state_path=state_path, job_id=abandoned.job_id)]
        if found is Found.LEFT_OVER:
            found, words = await remover.remove(abandoned.image_id, records, words)
        elif found is Found.GONE:  # perhaps by a request whose answer a crash has lost
            await remover.settle(abandoned.image_id, records, found, words)
    return Cleaned(image=abandoned, found=found, words=words)


async def _look(cloud: Cloud, abandoned: Abandoned) -> tuple[Found, str]:
    """The volume first: while it is uploading, the image may be one that is just being written."""
    volume = await cloud.block_storage.get_volume(abandoned.volume_id)
    image = await cloud.image.get_image(abandoned.image_id)
    if image is None:
        return Found.GONE, "gone"
    if image.status not in UNFINISHED_STATUSES:
        return Found.KEPT, f"{image.status}: only unfinished images are removed"
    if volume is not None and volume.status == "uploading":
        return Found.KEPT, f"{image.status}, and its volume is uploading"
    if (otherwise := await _seen_otherwise(cloud, abandoned)) is not None:
        return Found.KEPT, otherwise
    return Found.LEFT_OVER, image.status


async def _seen_otherwise(cloud: Cloud, abandoned: Abandoned) -> str | None:
    """What lists show against it, for a read by id may be behind; None = nothing, or they are refused."""
    try:
        for image in await cloud.image.images_named(abandoned.image_name):
            if image.image_id == abandoned.image_id and image.status not in UNFINISHED_STATUSES:
                return f"listed as {image.status}: only unfinished images are removed"
        async for page in cloud.block_storage.volumes(status="uploading"):
            if any(volume.volume_id == abandoned.volume_id for volume in page):
                return "its volume is listed as uploading"
    except SignInError:
        raise
    except RefusedError:
        pass
    return None
