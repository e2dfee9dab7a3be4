"""Which volumes of a project belong in a list: the wishes of `discover`, and of `[discover]` in a job file.

Pure: a volume and a set of wishes.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

from batchexport.model import Volume, VolumeDetails

if TYPE_CHECKING:
    from batchexport.config.table import Table


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
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


def wanted_from(table: Table) -> Wanted:
    """The wishes that the table holds; its keys are called as the options of `discover` are."""
    least_gib, most_gib = table.whole("min_size", least=0), table.whole("max_size", least=0)
    if least_gib is not None and most_gib is not None and least_gib > most_gib:
        table.problem("max_size", "is below min_size: no volume fits")
    return Wanted(
        statuses=table.read("status", _texts) or (),
        names=table.read("name", _texts) or (),
        zones=table.read("availability_zone", _texts) or (),
        types=table.read("type", _texts) or (),
        metadata=table.read("metadata", _pairs) or (),
        server_ids=table.read("attached_to", _texts) or (),
        least_gib=least_gib,
        most_gib=most_gib,
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
