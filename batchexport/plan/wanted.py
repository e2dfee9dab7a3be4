"""Which volumes of a project belong in a list. Pure: a volume and a set of wishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from batchexport.model import Volume, VolumeDetails


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a volume must be. Of several values of one wish, one must fit; an empty wish fits every volume."""

    statuses: Sequence[str] = ()
    names: Sequence[str] = ()  #: patterns as a shell has them: `db-*`
    zones: Sequence[str] = ()
    types: Sequence[str] = ()
    metadata: Sequence[tuple[str, str]] = ()  #: every pair must be there; the value is a pattern
    server_ids: Sequence[str] = ()
    least_gib: int | None = None
    most_gib: int | None = None

    def fits(self, volume: Volume) -> bool:
        """Whether the volume is one of those."""
        details = volume.details or VolumeDetails()
        return (
            _among(volume.status, self.statuses)
            and _like(volume.name or "", self.names)
            and _among(details.availability_zone, self.zones)
            and _among(details.volume_type, self.types)
            and (not self.server_ids or not set(self.server_ids).isdisjoint(volume.server_ids))
            and self._fits_size(volume.size_gib)
            and all(_has(details, key, pattern) for key, pattern in self.metadata)
        )

    def _fits_size(self, size_gib: int | None) -> bool:
        if self.least_gib is None and self.most_gib is None:
            return True
        if size_gib is None:
            return False
        return (self.least_gib or 0) <= size_gib and (self.most_gib is None or size_gib <= self.most_gib)


def _among(value: str | None, allowed: Sequence[str]) -> bool:
    return not allowed or value in allowed


def _like(value: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(value, pattern) for pattern in patterns)


def _has(details: VolumeDetails, key: str, pattern: str) -> bool:
    return key in details.metadata and fnmatchcase(details.metadata[key], pattern)
