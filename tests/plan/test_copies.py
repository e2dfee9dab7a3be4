from collections import Counter

import pytest

from batchexport.model import QuotaUse, StorageQuota, Volume
from batchexport.plan.copies import Copies, Copy, CopyOutlook, copy_outlook


def copies(*sizes: int, by_snapshot: bool = True) -> Counter[Copy]:
    return Counter(Copy("SSD", size, by_snapshot) for size in sizes)


def quota(**left: int) -> StorageQuota:
    return StorageQuota(quotas={name: QuotaUse(10_000, 10_000 - amount) for name, amount in left.items()})


def outlook(
    made: Counter[Copy], known: StorageQuota | None, limit: int = 4, gib: int | None = None
) -> CopyOutlook:
    return copy_outlook(made, known, max_temporary=limit, max_temporary_gib=gib)


def test_a_snapshot_costs_as_much_quota_as_its_volume() -> None:
    by_snapshot = outlook(copies(10, 20, 30), None, 2)
    assert by_snapshot == CopyOutlook(snapshots=3, volumes=3, gib=60, at_once=2, gib_at_once=100)
    clones = outlook(copies(10, 20, 30, by_snapshot=False), None, 2)
    assert clones == CopyOutlook(snapshots=0, volumes=3, gib=60, at_once=2, gib_at_once=50)


@pytest.mark.parametrize(("makes_clones", "snapshots"), [(True, 2), (False, 3)])
def test_volumes_of_one_server_are_copied_by_snapshots(makes_clones: bool, snapshots: int) -> None:
    found = Copies(makes_clones=makes_clones)
    for number, server_id in enumerate(("a", "b", "a")):
        volume_id = f"v{number}"
        found.add(Volume(volume_id=volume_id, status="in-use", size_gib=5, server_ids=(server_id,)))
    assert len(found) == 3
    assert outlook(found.counted(), None).snapshots == snapshots


BOUNDS = [(None, 3), (100, 3), (60, 3), (55, 2), (50, 2), (30, 1), (5, 1)]


@pytest.mark.parametrize(("gib", "at_once"), BOUNDS)
def test_the_bound_of_gib_lets_one_go_whatever_its_size(gib: int | None, at_once: int) -> None:
    assert outlook(copies(10, 20, 30), None, 10, gib).at_once == at_once


@pytest.mark.parametrize(
    ("left", "room", "no_room", "short_of"),
    [
        ({}, None, 0, ()),
        ({"volumes": 50, "snapshots": 50, "gigabytes": 5000}, 3, 0, ()),
        ({"volumes": 50, "snapshots": 2}, 2, 0, ("snapshots",)),
        ({"volumes": 0}, 0, 3, ("volumes",)),
        ({"snapshots": 0}, 0, 3, ("snapshots",)),
        ({"gigabytes": 110}, 2, 0, ("gigabytes",)),
        ({"gigabytes": 45}, 1, 1, ("gigabytes",)),
        ({"gigabytes": 500, "gigabytes_SSD": 25}, 1, 2, ("gigabytes_SSD",)),
        ({"gigabytes_SAS": 0}, None, 0, ()),
        ({"volumes_SSD": 1}, 1, 0, ("volumes_SSD",)),
        ({"volumes": 9, "per_volume_gigabytes": 20}, 2, 1, ("per_volume_gigabytes",)),
    ],
)
def test_quotas_of_project_and_type_bound_the_copies(
    left: dict[str, int], room: int | None, no_room: int, short_of: tuple[str, ...]
) -> None:
    found = outlook(copies(10, 20, 30), quota(**left))
    assert (found.room, found.no_room, found.short_of) == (room, no_room, short_of)


def test_clones_need_no_snapshots() -> None:
    found = outlook(copies(10, 20, by_snapshot=False), quota(snapshots=0, gigabytes=30))
    assert (found.room, found.no_room) == (2, 0)
