"""Whether a finished image is what was asked for. Pure: an image and what is known of its job."""

from __future__ import annotations

from collections.abc import Iterator

from batchexport.model import Image, ImageOptions
from batchexport.plan.findings import Finding, Weight

GIB = 2**30


def check_image(
    image: Image | None,
    *,
    options: ImageOptions,
    size_gib: int | None,
    image_hash: str | None = None,
    name: str | None = None,
) -> list[Finding]:
    """Everything about the image that is not as asked; what the cloud does not tell is not held against it.

    `options` are those that were asked for: None in them is no wish. `image_hash` is the one recorded when
    the image turned active, `name` the one it was given; None = not compared. `is_size_verified` says whether
    the cloud told enough to know that the image is whole.
    """
    if image is None:
        return [_unlike("image_gone", "the image is gone")]
    if image.status != "active":
        return [_unlike("image_status", f"the image is {image.status}")]
    return [
        *_of_name(image, name),
        *_of_formats(image, options),
        *_of_bytes(image, size_gib),
        *_of_size(image, size_gib),
        *_of_hash(image, image_hash),
    ]


def is_size_verified(image: Image, size_gib: int | None) -> bool:
    """Whether what the cloud tells of the image could be compared with its volume at all.

    A raw image has as many bytes as its volume. Of any other format only the size that it unpacks to says
    that, and not every cloud tells it.
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
        yield _unlike("image_name", f"it is called {image.name!r}, asked was {name!r}")


def _of_formats(image: Image, options: ImageOptions) -> Iterator[Finding]:
    if image.details is None:
        return
    pairs = (
        ("disk format", image.details.disk_format, options.disk_format),
        ("container format", image.details.container_format, options.container_format),
    )
    for name, found, asked in pairs:
        if found and asked and found != asked:
            yield _unlike("image_format", f"its {name} is {found}, asked was {asked}")


def _of_bytes(image: Image, size_gib: int | None) -> Iterator[Finding]:
    """An empty image is never whole; a raw one has every byte of its volume, zeros included."""
    found = image.size_bytes
    if found is None:
        return
    if found == 0:
        yield _unlike("image_short", "it holds 0 bytes")
    elif size_gib is not None and _is_raw(image) and found != size_gib * GIB:
        code = "image_short" if found < size_gib * GIB else "image_size"
        yield _unlike(code, f"it holds {found:,} bytes, the volume has {size_gib * GIB:,}")


def _of_size(image: Image, size_gib: int | None) -> Iterator[Finding]:
    if image.details is None or size_gib is None:
        return
    virtual_bytes, min_disk_gib = image.details.virtual_bytes, image.details.min_disk_gib
    if virtual_bytes and virtual_bytes < size_gib * GIB:
        words = f"it unpacks to {virtual_bytes / GIB:.2f} GiB, the volume has {size_gib}"
        yield _unlike("image_short", words)
    if min_disk_gib and min_disk_gib < size_gib:
        words = f"its min_disk is {min_disk_gib} GiB, the volume has {size_gib}"
        yield _unlike("image_min_disk", words)


def _of_hash(image: Image, recorded: str | None) -> Iterator[Finding]:
    found = image.details.hash if image.details else None
    if recorded and found and found != recorded:
        yield _unlike("image_hash", f"its hash is {found[:20]}…, recorded was {recorded[:20]}…")


def _unlike(code: str, words: str) -> Finding:
    return Finding(weight=Weight.UNLIKE, code=code, words=words)
