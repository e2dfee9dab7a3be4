"""Whether finished images are what was asked for: one image, or all of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from batchexport.dialect import Dialect
from batchexport.model import Image, ImageOptions
from batchexport.plan.inventory import SINGLE_READS, Inventory
from batchexport.plan.row_checks import Finding, Severity
from batchexport.plan.summary import MAX_KEPT
from batchexport.store import Exported, ExportedImages

GIB = 2**30


def check_image(
    image: Image | None,
    *,
    options: ImageOptions,
    size_gib: int | None,
    image_hash: str | None = None,
    name: str | None = None,
) -> list[Finding]:
    """Everything about the image that is not as asked. What the cloud does not report is not a finding.

    `options` are those asked for; None in them means any. `image_hash` is the one recorded when the image
    became active, `name` the one it was given; None = not compared. `is_size_verified` says whether the
    cloud reports enough to know that the image is complete.
    """
    if image is None:
        return [_mismatch("image_gone", "the image is gone")]
    if image.status != "active":
        return [_mismatch("image_status", f"the image is {image.status}")]
    return [
        *_of_name(image, name),
        *_of_formats(image, options),
        *_of_bytes(image, size_gib),
        *_of_size(image, size_gib),
        *_of_hash(image, image_hash),
    ]


def is_size_verified(image: Image, size_gib: int | None) -> bool:
    """Whether the cloud reports enough to compare the image's size with its volume.

    A raw image has exactly the bytes of its volume. For other formats only the virtual size tells, which not
    every cloud reports.
    """
    if size_gib is None or image.details is None:
        return False
    if _is_raw(image):
        return image.size_bytes is not None
    return bool(image.details.virtual_bytes)


def _is_raw(image: Image) -> bool:
    return (
        image.details is not None
        and image.details.disk_format == "raw"
        and image.details.container_format in ("bare", None)
    )


def _of_name(image: Image, name: str | None) -> Iterator[Finding]:
    if name is not None and image.name != name:
        yield _mismatch("image_name", f"it is called {image.name!r}, asked was {name!r}")


def _of_formats(image: Image, options: ImageOptions) -> Iterator[Finding]:
    if image.details is None:
        return
    pairs = (
        ("disk format", image.details.disk_format, options.disk_format),
        ("container format", image.details.container_format, options.container_format),
    )
    for name, found, asked in pairs:
        if found and asked and found != asked:
            yield _mismatch("image_format", f"its {name} is {found}, asked was {asked}")


def _of_bytes(image: Image, size_gib: int | None) -> Iterator[Finding]:
    """An empty image is never complete; a raw one has every byte of its volume, zeros included."""
    found = image.size_bytes
    if found is None:
        return
    if found == 0:
        yield _mismatch("image_short", "it holds 0 bytes")
    elif size_gib is not None and _is_raw(image) and found != size_gib * GIB:
        code = "image_short" if found < size_gib * GIB else "image_size"
        yield _mismatch(code, f"it holds {found:,} bytes, the volume has {size_gib * GIB:,}")


def _of_size(image: Image, size_gib: int | None) -> Iterator[Finding]:
    if image.details is None or size_gib is None:
        return
    virtual_bytes, min_disk_gib = image.details.virtual_bytes, image.details.min_disk_gib
    if virtual_bytes and virtual_bytes < size_gib * GIB:
        words = f"it unpacks to {virtual_bytes / GIB:.2f} GiB, the volume has {size_gib}"
        yield _mismatch("image_short", words)
    if min_disk_gib and min_disk_gib < size_gib:
        words = f"its min_disk is {min_disk_gib} GiB, the volume has {size_gib}"
        yield _mismatch("image_min_disk", words)


def _of_hash(image: Image, recorded: str | None) -> Iterator[Finding]:
    found = image.details.hash if image.details else None
    if recorded and found and found != recorded:
        yield _mismatch("image_hash", f"its hash is {found[:20]}…, recorded was {recorded[:20]}…")


def _mismatch(code: str, words: str) -> Finding:
    return Finding(severity=Severity.MISMATCH, code=code, words=words)


#: Seconds: the cloud's clock is known to a second, and image times are truncated to one.
CLOCK_MARGIN_S = 2.0

_SHARED = Finding(
    severity=Severity.MISMATCH, code="image_shared", words="another row of this list has the same image"
)


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is gone or is not what was asked for."""

    row: Exported
    findings: tuple[Finding, ...]


class Verification(msgspec.Struct):
    """What became of the images of one target."""

    images: int = 0  #: looked at
    mismatched: int = 0  #: of these, gone or not as asked
    hashed: int = 0  #: of these, compared with the recorded hash
    unverified: int = 0  #: as asked, but the cloud does not report enough to know that they are complete
    unseen: int = 0  #: in no list and not read one by one
    kept: list[Mismatch] = msgspec.field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every image was seen and is what was asked for."""
        return not self.mismatched and not self.unseen


async def verify(cloud: Inventory, images: ExportedImages, asked: ImageOptions, found: Verification) -> None:
    """Fill `found` with every image of a target. Reads pages, and a few images that are in no page.

    `asked` are the run's options for all images; those of a row take precedence.
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
        found.mismatched += 1
        if len(found.kept) < MAX_KEPT:
            found.kept.append(Mismatch(row=row, findings=tuple(findings)))


def defaults_of(dialect: Dialect) -> ImageOptions:
    """The options that were sent where none were asked for."""
    return ImageOptions(disk_format=dialect.default_disk_format, container_format="bare")
