"""The images that a job's nights made of each volume, as their state files record them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from batchexport.config import Settings
from batchexport.errors import StateError
from batchexport.intake import as_stored
from batchexport.model import JobState, TargetKey
from batchexport.plan.retention import OurImage
from batchexport.store import StateReader

log = logging.getLogger(__name__)

#: By target, and by volume the newest first.
Generations = dict[TargetKey, dict[str, list[OurImage]]]


def generations_of(
    tonight: Path, nights: Sequence[Path], settings: Settings, *, more_than: int
) -> Generations:
    """The images of the volumes exported tonight that have more than so many.

    Those that were removed are left out. A state file that cannot be read is passed over: its images are
    then not known to be ours, and stay.
    """
    found: Generations = {}
    for image in _images_of(tonight, settings):
        found.setdefault(image.target, {}).setdefault(image.volume_id, []).append(image)
    for path in nights:
        if path == tonight:
            continue
        try:
            for image in _images_of(path, settings):
                if (ours := found.get(image.target, {}).get(image.volume_id)) is not None:
                    ours.append(image)
        except StateError as error:
            log.warning("its images are left alone: %s", error)
    return {target: many for target, all_ in found.items() if (many := _longer(all_, more_than))}


def _longer(by_volume: dict[str, list[OurImage]], more_than: int) -> dict[str, list[OurImage]]:
    return {
        volume_id: sorted(ours, key=lambda image: image.made_at, reverse=True)
        for volume_id, ours in by_volume.items()
        if len(ours) > more_than
    }


def _images_of(path: Path, settings: Settings) -> Iterator[OurImage]:
    with StateReader(path) as reader:
        asked = as_stored(settings, reader.run).image
        gone = reader.removed_image_ids()
        for job in reader.jobs({JobState.SUCCEEDED}):
            if job.image_id is None or job.accepted_at is None or job.image_id in gone:
                continue
            yield OurImage(
                state_path=path,
                run_id=reader.run.run_id,
                job_id=job.job_id,
                target=job.target,
                volume_id=job.volume_id,
                image_id=job.image_id,
                image_name=job.image_name,
                made_at=job.accepted_at,
                asked=job.options.over(asked),
                size_gib=job.size_gib,
                image_hash=job.image_hash,
            )
