"""Which volumes of a project belong in a list: the options of `discover`, or `[discover]` in a job file."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

from batchexport.model import Volume, VolumeDetails

if TYPE_CHECKING:
    from batchexport.config.values import Table


class VolumeFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Criteria for volumes. One of several values of a criterion must match; an empty one matches all."""

    statuses: Sequence[str] = ()
    names: Sequence[str] = ()  #: patterns as a shell has them: `db-*`
    zones: Sequence[str] = ()
    types: Sequence[str] = ()
    metadata: Sequence[tuple[str, str]] = ()  #: every pair must be there; the value is a pattern
    server_ids: Sequence[str] = ()
    min_gib: int | None = None
    max_gib: int | None = None

    def matches(self, volume: Volume) -> bool:
        """Whether the volume meets every criterion."""
        details = volume.details or VolumeDetails()
        return (
            _among(volume.status, self.statuses)
            and _like(volume.name or "", self.names)
            and _among(details.availability_zone, self.zones)
            and _among(details.volume_type, self.types)
            and (not self.server_ids or not set(self.server_ids).isdisjoint(volume.server_ids))
            and self._matches_size(volume.size_gib)
            and all(_has(details, key, pattern) for key, pattern in self.metadata)
        )

    def _matches_size(self, size_gib: int | None) -> bool:
        if self.min_gib is None and self.max_gib is None:
            return True
        if size_gib is None:
            return False
        return (self.min_gib or 0) <= size_gib and (self.max_gib is None or size_gib <= self.max_gib)


def volume_filter_from(table: Table) -> VolumeFilter:
    """The criteria in the table; its keys are named like the options of `discover`."""
    min_gib, max_gib = table.integer("min_size", minimum=0), table.integer("max_size", minimum=0)
    if min_gib is not None and max_gib is not None and min_gib > max_gib:
        table.problem("max_size", "is less than min_size: no volume can match")
    return VolumeFilter(
        statuses=table.read("status", _texts) or (),
        names=table.read("name", _texts) or (),
        zones=table.read("availability_zone", _texts) or (),
        types=table.read("type", _texts) or (),
        metadata=table.read("metadata", _pairs) or (),
        server_ids=table.read("attached_to", _texts) or (),
        min_gib=min_gib,
        max_gib=max_gib,
    )


def _texts(value: object) -> tuple[str, ...]:
    """One text, or an array of them."""
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise ValueError("must be a text in quotes, or an array of such texts")
    if not texts:
        raise ValueError("is empty; leave the key out for volumes of any kind")
    return tuple(texts)


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not all(isinstance(pattern, str) for pattern in value.values()):
        raise ValueError('must be a table of keys and patterns: { tier = "gold" }')
    return tuple(value.items())


def _among(value: str | None, allowed: Sequence[str]) -> bool:
    return not allowed or value in allowed


def _like(value: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(value, pattern) for pattern in patterns)


def _has(details: VolumeDetails, key: str, pattern: str) -> bool:
    return key in details.metadata and fnmatchcase(details.metadata[key], pattern)
