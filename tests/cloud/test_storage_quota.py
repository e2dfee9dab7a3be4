from __future__ import annotations

from typing import Any

import pytest

from batchexport.cloud.storage_quota import read_storage_quota
from batchexport.errors import AuthenticationError
from batchexport.model import StorageQuota
from tests.cloud.conftest import Bench
from tests.cloud.scripted import Reply

FORBIDDEN = Reply(403, {"forbidden": {"code": 403, "message": "Policy doesn't allow it"}})


async def read(bench: Bench, project_id: str | None = "p1") -> StorageQuota | None:
    return await read_storage_quota(bench.session, bench.endpoint, project_id)


def use(limit: Any, in_use: Any, reserved: Any = 0) -> dict[str, Any]:
    return {"limit": limit, "in_use": in_use, "reserved": reserved, "allocated": 0}


async def test_the_tighter_of_the_quotas_of_project_and_type_counts(bench: Bench) -> None:
    quotas = {
        "id": "p1",
        "volumes": use(10, 3, 1),
        "snapshots": use("-1", 0),
        "gigabytes": use(1000, "980"),
        "gigabytes_SSD": use(900, 895),
        "volumes_SSD": use(-1, 3),
        "per_volume_gigabytes": use(100, 0),
        "odd": use(None, 0),
    }
    bench.server.answers(Reply(200, {"quota_set": quotas}))
    quota = await read(bench)
    assert bench.server.seen[0].path == "/v3/p1/os-quota-sets/p1?usage=True"
    assert quota is not None
    assert (quota.left("volumes"), quota.left("volumes", "SSD")) == (6, 6)
    assert (quota.left("gigabytes"), quota.left("gigabytes", "SSD")) == (20, 5)
    assert quota.left("gigabytes", "SAS") == 20
    assert (quota.left("snapshots"), quota.left("odd")) == (None, None)
    assert quota.left("per_volume_gigabytes") == 100


@pytest.mark.parametrize("project_id", ["p1", None])
async def test_limits_tell_where_quotas_are_for_administrators(bench: Bench, project_id: str | None) -> None:
    absolute = {
        "maxTotalVolumes": 10,
        "totalVolumesUsed": 12,
        "maxTotalSnapshots": -1,
        "totalSnapshotsUsed": 4,
        "maxTotalVolumeGigabytes": 1000,
    }
    answers = [FORBIDDEN] if project_id else []
    bench.server.answers(*answers, Reply(200, {"limits": {"rate": [], "absolute": absolute}}))
    quota = await read(bench, project_id)
    assert quota is not None
    assert (quota.left("volumes"), quota.left("snapshots"), quota.left("gigabytes")) == (0, None, 1000)


async def test_a_cloud_that_tells_no_quota(bench: Bench) -> None:
    bench.server.answers(FORBIDDEN)
    assert await read(bench) is None


async def test_a_refused_sign_in_is_no_missing_quota(bench: Bench) -> None:
    bench.server.answers(Reply(401))
    with pytest.raises(AuthenticationError):
        await read(bench)
