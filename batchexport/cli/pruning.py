"""After a night: images that its own have made old, as `[images] keep` counts them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from batchexport import nights
from batchexport.cli.connections import visits
from batchexport.cli.execution import run_in_loop
from batchexport.cli.layers import Order
from batchexport.cli.talk import Talk, say
from batchexport.engine import Cleaned, Connect, Found
from batchexport.engine.prune import prune
from batchexport.errors import BatchExportError, CloudError, ConfigError
from batchexport.generations import Generations, generations_of
from batchexport.report.words import count_of


def prune_after(order: Order, tonight: Path, known: Sequence[Path], talk: Talk) -> None:
    """Remove what tonight made old. Whatever is wrong with that is said, and ends nothing."""
    if order.nights.keep_images is None:
        return
    try:
        results = outdated(order, tonight, known, remove=True)
    except BatchExportError as error:
        say(f"old images were left alone: {error}", level="warning")
        return
    removed = sum(each.found is Found.REMOVED for each in results)
    if removed:
        talk.mention(f"removed {count_of(removed, 'image')} that newer ones made old")
    for each in results:
        if each.found in (Found.KEPT, Found.STUCK):
            say(f"image {each.image.image_id} is left, though old: {each.words}", level="warning")


def outdated_of_job(order: Order, *, remove: bool) -> list[Cleaned]:
    """What the last night of a job made old. Raises ConfigError where the job keeps every image."""
    folder = order.nights.state_dir
    if folder is None or order.nights.keep_images is None:
        raise ConfigError(
            f"{order.job_file_name} keeps every image",
            hint="set [images] keep in it, or give the state file whose unfinished images are to go",
        )
    if not (known := nights.nights_of(folder, order.job_name)):
        raise ConfigError(
            f"{folder} holds no night of {order.job_file_name} yet",
            hint=f"`batchexport run {order.job_file_name}` makes the first; nothing was removed",
        )
    with nights.alone(folder, order.job_name):
        return outdated(order, known[-1], known, remove=remove)


def outdated(order: Order, tonight: Path, known: Sequence[Path], *, remove: bool) -> list[Cleaned]:
    """Our images of tonight's volumes beyond those to keep, and what was done about them.

    Raises CloudError and StateError; a target whose images cannot be listed does not hold up the others.
    """
    keep = order.nights.keep_images
    assert keep is not None
    volumes = generations_of(tonight, known, order.settings, more_than=keep)

    async def look() -> list[Cleaned]:
        async with visits(volumes, order.access, order.settings, state_path=tonight) as connect:
            return await _on_each(volumes, connect, keep=keep, remove=remove, now=time.time)

    return run_in_loop(look()) if volumes else []


async def _on_each(
    volumes: Generations, connect: Connect, *, keep: int, remove: bool, now: Callable[[], float]
) -> list[Cleaned]:
    results: list[Cleaned] = []
    errors: list[CloudError] = []
    for target, ours in volumes.items():
        try:
            async with connect(target, None) as cloud:
                results += [each async for each in prune(cloud, ours, keep=keep, remove=remove, now=now)]
        except CloudError as error:
            errors.append(error)
    if errors and not results:
        raise errors[0]
    for each in errors:
        say(f"old images were left alone: {each}", level="warning")
    return results
