"""What a run is to deliver, by destination: sums over its rows, and what the destination will refuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import msgspec

from batchexport.deliveries import SHARED
from batchexport.dialect import Dialect
from batchexport.model import ImageOptions, StorageQuota, Volume
from batchexport.plan.row_checks import Finding, Severity


class PlannedDelivery(msgspec.Struct):
    """What goes to one destination."""

    rows: int = 0
    gib: int = 0  #: of their volumes together, as far as that is known: no image is larger
    disk_formats: Counter[str] = msgspec.field(default_factory=Counter)  #: how many images have which
    problems: list[str] = msgspec.field(default_factory=list)  #: why deliveries there will fail
    notes: list[str] = msgspec.field(default_factory=list)  #: why some of them may

    def add(self, volume: Volume, options: ImageOptions, dialect: Dialect) -> None:
        """Count one row; `options` are its own over those of the run."""
        self.rows += 1
        self.gib += volume.size_gib or 0
        self.disk_formats[options.disk_format or dialect.default_disk_format] += 1

    def take_in(self, other: PlannedDelivery) -> None:
        """Count those of another target."""
        self.rows += other.rows
        self.gib += other.gib
        self.disk_formats += other.disk_formats

    def check_formats(self, taken: Collection[str] | None) -> None:
        """Note the formats that the destination does not take; None = it does not tell which it takes."""
        for disk_format, images in sorted(self.disk_formats.items()):
            if taken is not None and disk_format not in taken:
                allowed = ", ".join(sorted(taken))
                self.problems.append(
                    f"it takes no {disk_format}, as {images:,} images are; it takes {allowed}"
                )

    def check_room(self, quota: StorageQuota | None, volume_type: str | None) -> None:
        """Note where a quota has no room for the volumes; None = it is not told."""
        if quota is None:
            self.notes.append("the cloud does not tell its quotas for volumes")
            return
        for name, needed in (("volumes", self.rows), ("gigabytes", self.gib)):
            left = quota.left(name, volume_type)
            if left is not None and left < needed:
                self.problems.append(f"the quota has room for {left:,} {name}, {needed:,} are needed")


def check_delivery(volume: Volume, options: ImageOptions, destinations: Collection[str]) -> Iterator[Finding]:
    """What speaks against delivering the image of this row; `options` are its own over those of the run."""
    encrypted = volume.details is not None and volume.details.encrypted
    for destination in destinations:
        if destination.startswith(SHARED):
            if options.visibility == "public":
                yield _warning(destination, "the image will be public, and has no members")
        elif encrypted:
            yield _warning(destination, "the volume is encrypted, and so will its image be; the key stays")


def _warning(destination: str, words: str) -> Finding:
    words = f"cannot be delivered to {destination}: {words}"
    return Finding(severity=Severity.WARNING, code="undeliverable", words=words)
