"""What copies of volumes in use cost: how many at once, how many GiB, and whether quotas leave room. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from batchexport.model import StorageQuota, Volume


class Copy(msgspec.Struct, frozen=True):
    """What the copy of one volume takes: volumes of the same kind are counted together."""

    volume_type: str | None
    size_gib: int
    by_snapshot: bool  #: it is a volume of a snapshot, which counts as much; else a clone

    @property
    def quota_gib(self) -> int:
        """GiB of quota while it exists."""
        return self.size_gib * (2 if self.by_snapshot else 1)

    @property
    def needs(self) -> dict[str, int]:
        """What it takes of each quota."""
        needs = {"volumes": 1, "gigabytes": self.quota_gib}
        return {**needs, "snapshots": 1} if self.by_snapshot else needs


class Copies:
    """The volumes to be copied for their export; those of one server by snapshots of one moment."""

    def __init__(self, *, makes_clones: bool) -> None:
        """`makes_clones`: whether the cloud makes a volume of another volume, without a snapshot."""
        self._makes_clones = makes_clones
        self._volumes: list[tuple[str | None, int, tuple[str, ...]]] = []
        self._on_server: Counter[str] = Counter()

    def add(self, volume: Volume) -> None:
        """Count one volume."""
        volume_type = None if volume.details is None else volume.details.volume_type
        self._volumes.append((volume_type, volume.size_gib or 0, volume.server_ids))
        self._on_server.update(volume.server_ids)

    def __len__(self) -> int:
        return len(self._volumes)

    def counted(self) -> Counter[Copy]:
        """What is made over the whole run."""
        return Counter(
            Copy(volume_type, size_gib, by_snapshot=self._is_by_snapshot(server_ids))
            for volume_type, size_gib, server_ids in self._volumes
        )

    def _is_by_snapshot(self, server_ids: tuple[str, ...]) -> bool:
        return not self._makes_clones or any(self._on_server[each] > 1 for each in server_ids)


class CopyOutlook(msgspec.Struct, frozen=True, kw_only=True):
    """What is made, how much of it at the same time, and what the quotas leave for it."""

    snapshots: int  #: made over the whole run
    volumes: int  #: temporary ones made over the whole run
    gib: int  #: of these volumes
    at_once: int  #: temporary volumes, by the limits of the run
    gib_at_once: int  #: of quota, for the largest ones together
    room: int | None = None  #: of the largest, how many fit the quotas at once; None = all, or not told
    no_room: int = 0  #: volumes whose copy alone is more than the quotas leave
    short_of: tuple[str, ...] = ()  #: the quotas that are too small: `snapshots`, `gigabytes_SSD`


def copy_outlook(
    copies: Counter[Copy], quota: StorageQuota | None, *, max_temporary: int, max_temporary_gib: int | None
) -> CopyOutlook:
    """What the copies need at once under these limits. A volume of more GiB than the limit goes alone."""
    largest_first = sorted(copies.elements(), key=lambda copy: -copy.size_gib)
    at_once: list[Copy] = []
    for copy in largest_first:
        gib = sum(each.size_gib for each in at_once) + copy.size_gib
        is_over = bool(at_once) and max_temporary_gib is not None and gib > max_temporary_gib
        if len(at_once) >= max_temporary or is_over:
            break
        at_once.append(copy)
    outlook = CopyOutlook(
        snapshots=sum(count for copy, count in copies.items() if copy.by_snapshot),
        volumes=copies.total(),
        gib=sum(copy.size_gib * count for copy, count in copies.items()),
        at_once=len(at_once),
        gib_at_once=sum(copy.quota_gib for copy in at_once),
    )
    if quota is None:
        return outlook
    room = _Room(quota)
    fitting = [copy for copy in copies if room.fits(copy)]
    no_room = copies.total() - sum(copies[copy] for copy in fitting)
    taken = 0
    for copy in (each for each in largest_first if each in fitting):
        if taken >= len(at_once):
            break
        taken += room.take(copy)
    return replace(
        outlook,
        room=None if room.is_unlimited(copies) else taken,
        no_room=no_room,
        short_of=tuple(sorted(room.short_of)),
    )


class _Room:
    """What the quotas leave, less what was taken of it."""

    def __init__(self, quota: StorageQuota) -> None:
        self._quota = quota
        self._taken: Counter[str] = Counter()
        self.short_of: set[str] = set()

    def is_unlimited(self, copies: Iterable[Copy]) -> bool:
        """Whether no quota bounds these."""
        return all(self._quota.left(name, copy.volume_type) is None for copy in copies for name in copy.needs)

    def fits(self, copy: Copy) -> bool:
        """Whether it fits what is left when nothing is taken."""
        return self._has_room(copy, Counter())

    def take(self, copy: Copy) -> bool:
        """Whether it fits beside what was taken; then it is taken as well."""
        if not self._has_room(copy, self._taken):
            return False
        for name, amount in copy.needs.items():
            self._taken[name] += amount
            self._taken[f"{name}_{copy.volume_type}"] += amount
        return True

    def _has_room(self, copy: Copy, taken: Counter[str]) -> bool:
        for name, amount in copy.needs.items():
            for quota in (name, f"{name}_{copy.volume_type}"):
                use = self._quota.quotas.get(quota)
                if use is not None and use.left is not None and use.left - taken[quota] < amount:
                    self.short_of.add(quota)
                    return False
        largest = self._quota.left("per_volume_gigabytes")
        if largest is not None and copy.size_gib > largest:
            self.short_of.add("per_volume_gigabytes")
            return False
        return True
