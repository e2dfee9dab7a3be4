"""After a night: images that its own have made old, by the rules of `[images]`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from batchexport import nightly_runs
from batchexport.cli.connections import visits
from batchexport.cli.console import TerminalConsole, err
from batchexport.cli.execution import run_in_loop
from batchexport.cli.layers import Order
from batchexport.config.retention import Retention
from batchexport.engine import Cleaned, Connect, Found
from batchexport.engine.prune import prune
from batchexport.errors import BatchExportError, CloudError, ConfigError
from batchexport.generations import Generations, generations_of
from batchexport.report.text import count_of


def prune_after(
    order: Order, tonight: Path, known: Sequence[Path], console: TerminalConsole, *, until: float | None
) -> None:
    """Remove what tonight made old, until this time. Whatever goes wrong is said, and ends nothing."""
    if order.nights.retention is None:
        return
    try:
        results = outdated(order, tonight, known, remove=True, until=until)
    except BatchExportError as error:
        err(f"old images were left alone: {error}", level="warning")
        return
    removed = sum(each.found is Found.REMOVED for each in results)
    if removed:
        console.info(f"removed {count_of(removed, 'image')} that newer ones made old")
    for each in results:
        if each.found in (Found.KEPT, Found.STUCK):
            err(f"image {each.image.image_id} is left: {each.words}", level="warning")


def outdated_of_job(order: Order, *, remove: bool) -> list[Cleaned]:
    """What the last night of a job made old. Raises ConfigError where the job keeps every image."""
    folder = order.nights.state_dir
    if folder is None or order.nights.retention is None:
        raise ConfigError(
            f"{order.job_file_name} keeps every image",
            hint="set [images] keep_last in it, or give the state file whose unfinished images are to go",
        )
    if not (known := nightly_runs.run_files(folder, order.job_name)):
        raise ConfigError(
            f"{folder} holds no night of {order.job_file_name} yet",
            hint=f"`batchexport run {order.job_file_name}` makes the first; nothing was removed",
        )
    with nightly_runs.exclusive_lock(folder, order.job_name):
        return outdated(order, known[-1], known, remove=remove, until=None)


def outdated(
    order: Order, tonight: Path, known: Sequence[Path], *, remove: bool, until: float | None
) -> list[Cleaned]:
    """What the job's rules make of our images of tonight's volumes, and what was done about them.

    Nothing goes after `until`; None = no end. Raises CloudError and StateError; a target whose images cannot
    be listed does not hold up the others.
    """
    rules = order.nights.retention
    assert rules is not None
    ours = generations_of(tonight, known, order.settings)

    async def look() -> list[Cleaned]:
        async with visits(ours.volumes, order.access, order.settings, state_path=tonight) as connect:
            return await _on_each(ours, connect, rules, remove=remove, until=until)

    return run_in_loop(look()) if ours.volumes else []


async def _on_each(
    ours: Generations, connect: Connect, rules: Retention, *, remove: bool, until: float | None
) -> list[Cleaned]:
    results: list[Cleaned] = []
    errors: list[CloudError] = []
    for target, volumes in ours.volumes.items():
        try:
            async with connect(target, None) as cloud:
                pruned = prune(
                    cloud,
                    target,
                    volumes,
                    rules=rules,
                    blocked=ours.blocked,
                    remove=remove,
                    now=time.time,
                    is_over=lambda: until is not None and time.time() >= until,
                )
                results += [each async for each in pruned]
        except CloudError as error:
            errors.append(error)
    if errors and not results:
        raise errors[0]
    for each in errors:
        err(f"old images were left alone: {each}", level="warning")
    return results
