"""Looking again at the images that a run made: are they there, and what was asked for?"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from batchexport.dialect import Dialect
from batchexport.model import Image, ImageOptions
from batchexport.plan.findings import Finding, Weight
from batchexport.plan.image_check import check_image, is_size_verified
from batchexport.plan.outlook import MOST_KEPT
from batchexport.plan.ports import Inventory
from batchexport.plan.survey import SINGLE_READS
from batchexport.store import Exported, ExportedImages

#: The server's clock is known to a second, and image times are cut to one.
CLOCK_MARGIN_S = 2.0

_SHARED = Finding(
    weight=Weight.UNLIKE, code="image_shared", words="another row of this list names the same image"
)


class Unlike(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is gone, or is not what was asked for."""

    row: Exported
    findings: tuple[Finding, ...]


class Verification(msgspec.Struct):
    """What became of the images of one target."""

    images: int = 0  #: looked at
    unlike: int = 0  #: of these, gone or not as asked
    hashed: int = 0  #: of these, compared with the hash that was recorded
    unverified: int = 0  #: as asked as far as the cloud tells, which does not tell whether they are whole
    unseen: int = 0  #: in no list, and not read one by one
    kept: list[Unlike] = msgspec.field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every image was looked at and is what was asked for."""
        return not self.unlike and not self.unseen


async def verify(cloud: Inventory, images: ExportedImages, asked: ImageOptions, found: Verification) -> None:
    """Fill `found` with every image of a target. Asks for pages, and for a few images that no page shows.

    `asked` is what the run wished for all its images; rows may have wished otherwise.
    """
    wishes = asked.over(defaults_of(cloud.dialect))
    pages, since_s = 0, (images.oldest_s or 0.0) - CLOCK_MARGIN_S
    if (left := len(images)) > 1:
        async for page in cloud.image.images(created_since=since_s):
            pages += 1
            left -= _compare(images, {image.image_id: image for image in page}, wishes, found)
            if left <= pages + 1:  # as much again, and each image could have been read by itself
                break
    rows = images.first(max(SINGLE_READS, pages + 1))
    for row in rows:
        _note(row, await cloud.image.get_image(row.image_id), wishes, found)
    found.unseen = left - len(rows)


def _compare(
    images: ExportedImages, page: Mapping[str, Image], wishes: ImageOptions, found: Verification
) -> int:
    rows = images.take(list(page))
    for row in rows:
        _note(row, page[row.image_id], wishes, found)
    return len(rows)


def _note(row: Exported, image: Image | None, wishes: ImageOptions, found: Verification) -> None:
    findings = check_image(
        image,
        options=row.options.over(wishes),
        size_gib=row.size_gib,
        image_hash=row.image_hash,
        name=row.image_name,
    )
    if row.is_shared:
        findings.append(_SHARED)
    found.images += 1
    found.hashed += bool(row.image_hash and image and image.details and image.details.hash)
    if not findings and image is not None and not is_size_verified(image, row.size_gib):
        found.unverified += 1
    if findings:
        found.unlike += 1
        if len(found.kept) < MOST_KEPT:
            found.kept.append(Unlike(row=row, findings=tuple(findings)))


def defaults_of(dialect: Dialect) -> ImageOptions:
    """What was sent where nobody wished for anything."""
    return ImageOptions(disk_format=dialect.default_disk_format, container_format="bare")
