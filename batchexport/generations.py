"""The images that a job's nights made of each volume, as their state files record them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from batchexport.config import Settings
from batchexport.errors import StateError
from batchexport.intake import as_stored
from batchexport.model import JobState, TargetKey
from batchexport.plan.retention import OurImage, Recorded
from batchexport.store import JobReport, StateReader

log = logging.getLogger(__name__)


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
            log.warning("every image is left alone: %s", error)
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
    """One image that two rows name, as told by the row that proves it ours."""
    best = other if other.is_proved and not one.is_proved else one
    return replace(
        best,
        records=(*one.records, *other.records),
        is_proved=best.is_proved and (one.target, one.volume_id) == (other.target, other.volume_id),
        is_latest=one.is_latest or other.is_latest,
        in_doubt=one.in_doubt or other.in_doubt,
    )


def _images_of(path: Path, settings: Settings, *, is_latest: bool) -> Iterator[OurImage]:
    with StateReader(path) as reader:
        asked = as_stored(settings, reader.run).image
        gone, in_doubt = reader.removed_image_ids(), reader.unanswered_removals()
        requested = reader.requested_image_ids()
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
            )


def _is_proved(job: JobReport, run_id: str) -> bool:
    """Whether the image is that of our own request: an adopted one has no request of ours behind it."""
    return job.request_id is not None or run_id in job.image_name
