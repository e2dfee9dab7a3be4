"""The images that a job's runs made of each volume; superseded ones go by the rules of `[images]`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from batchexport import nightly_runs
from batchexport.app import run_in_loop
from batchexport.app.connections import visits
from batchexport.app.console import Console
from batchexport.app.run_config import RunConfig
from batchexport.config import Settings
from batchexport.config.retention import Retention
from batchexport.engine import Cleaned, Connect, Found
from batchexport.engine.prune import prune
from batchexport.errors import BatchExportError, CloudError, ConfigError, StateError
from batchexport.intake import as_stored
from batchexport.model import JobState, TargetKey
from batchexport.plan.retention import OurImage, Recorded
from batchexport.report.text import count_of
from batchexport.store import JobReport, awaited_images, stores

log = logging.getLogger(__name__)


def prune_after(
    config: RunConfig, tonight: Path, known: Sequence[Path], console: Console, *, until: float | None
) -> None:
    """Delete images that tonight's superseded, until this time. Errors are reported and end nothing."""
    if config.schedule.retention is None:
        return
    try:
        results = run_in_loop(outdated(config, tonight, known, console, remove=True, until=until))
    except BatchExportError as error:
        console.warning(f"superseded images were kept: {error}")
        return
    removed = sum(each.found is Found.REMOVED for each in results)
    if removed:
        console.info(f"removed {count_of(removed, 'image')} superseded by newer ones")
    for each in results:
        if each.found in (Found.KEPT, Found.STUCK):
            console.warning(f"image {each.image.image_id} kept although superseded: {each.reason}")


async def outdated_of_job(config: RunConfig, console: Console, *, remove: bool) -> list[Cleaned]:
    """What the last night of a job made old. Raises ConfigError where the job keeps every image."""
    folder = config.schedule.state_dir
    if folder is None or config.schedule.retention is None:
        raise ConfigError(
            f"{config.job_file_name} keeps every image",
            hint="set [images] keep_last in it, or give the state file whose unfinished images are to go",
        )
    if not (known := nightly_runs.run_files(folder, config.job_name)):
        raise ConfigError(
            f"{folder} holds no run of {config.job_file_name} yet",
            hint=f"`batchexport run {config.job_file_name}` makes the first; nothing was removed",
        )
    with nightly_runs.exclusive_lock(folder, config.job_name):
        return await outdated(config, known[-1], known, console, remove=remove, until=None)


async def outdated(
    config: RunConfig,
    tonight: Path,
    known: Sequence[Path],
    console: Console,
    *,
    remove: bool,
    until: float | None,
) -> list[Cleaned]:
    """What the job's rules make of our images of tonight's volumes, and what was done about them.

    Nothing goes after `until`; None = no end. Raises CloudError and StateError; a target whose images cannot
    be listed does not hold up the others.
    """
    rules = config.schedule.retention
    assert rules is not None
    ours = generations_of(tonight, known, config.settings)
    if not ours.volumes:
        return []
    async with visits(ours.volumes, config.access, config.settings, state_path=tonight) as connect:
        return await _on_each(ours, connect, rules, console, remove=remove, until=until)


async def _on_each(
    ours: Generations,
    connect: Connect,
    rules: Retention,
    console: Console,
    *,
    remove: bool,
    until: float | None,
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
        console.warning(f"superseded images were kept: {each}")
    return results


class Generations(msgspec.Struct):
    """Our images by target and volume, and the state files of the job that could not be read."""

    volumes: dict[TargetKey, dict[str, list[OurImage]]]
    unreadable: list[StateError]

    @property
    def blocked(self) -> str | None:
        """Why no image may go: what is not read may name any of them. None = all was read."""
        return str(self.unreadable[0]) if self.unreadable else None


def generations_of(tonight: Path, nights: Sequence[Path], settings: Settings) -> Generations:
    """The images of the volumes exported tonight, of all nights; each image once. Those that were removed are
    left out.
    """
    latest = list(_images_of(tonight, settings, is_latest=True))
    volumes = {(image.target, image.volume_id) for image in latest}
    found, unreadable = [*latest], []
    for path in nights:
        if path == tonight:
            continue
        try:
            found += list(_images_of(path, settings, is_latest=False))
        except StateError as error:
            log.warning("every image is kept: %s", error, extra={"action": "retention", "path": str(path)})
            unreadable.append(error)
    by_target: dict[TargetKey, dict[str, list[OurImage]]] = {}
    for image in _each_once(found):
        if (image.target, image.volume_id) in volumes:
            by_target.setdefault(image.target, {}).setdefault(image.volume_id, []).append(image)
    return Generations(volumes=by_target, unreadable=unreadable)


def _each_once(images: Iterable[OurImage]) -> list[OurImage]:
    """Every image once, with all rows that name it. Named for two volumes, it is proved for neither."""
    by_id: dict[str, OurImage] = {}
    for image in images:
        known = by_id.get(image.image_id)
        by_id[image.image_id] = image if known is None else _joined(known, image)
    return list(by_id.values())


def _joined(one: OurImage, other: OurImage) -> OurImage:
    """One image that two rows name, as recorded by the row that proves it ours."""
    best = other if other.is_proved and not one.is_proved else one
    return replace(
        best,
        records=(*one.records, *other.records),
        is_proved=best.is_proved and (one.target, one.volume_id) == (other.target, other.volume_id),
        is_latest=one.is_latest or other.is_latest,
        in_doubt=one.in_doubt or other.in_doubt,
        awaited_by=tuple(dict.fromkeys((*one.awaited_by, *other.awaited_by))),
    )


def _images_of(path: Path, settings: Settings, *, is_latest: bool) -> Iterator[OurImage]:
    with stores.read(path) as reader:
        asked = as_stored(settings, reader.run).image
        removals = reader.removals()
        gone = {each.image_id for each in removals if each.outcome in ("removed", "gone")}
        in_doubt = {each.image_id for each in removals if each.ended_at is None}
        requested = {each.image_id for each in reader.attempts() if each.request_id is not None}
        awaited = awaited_images(reader)
        for job in reader.jobs({JobState.SUCCEEDED}):
            if job.image_id is None or job.image_id in gone:
                continue
            yield OurImage(
                records=(Recorded(state_path=path, job_id=job.job_id),),
                run_id=reader.run.run_id,
                target=job.target,
                volume_id=job.volume_id,
                image_id=job.image_id,
                image_name=job.image_name,
                intent_at=job.intent_at,
                asked=job.options.over(asked),
                size_gib=job.size_gib,
                image_hash=job.image_hash,
                is_proved=job.image_id in requested or _is_proved(job, reader.run.run_id),
                is_latest=is_latest,
                in_doubt=job.image_id in in_doubt,
                awaited_by=tuple(awaited.get(job.image_id, ())),
            )


def _is_proved(job: JobReport, run_id: str) -> bool:
    """Whether the image is that of our own request: an adopted one has no request of ours behind it."""
    return job.request_id is not None or run_id in job.image_name
