"""The quotas of block storage: of the project, and of each volume type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http.responses import LenientDecoder
from batchexport.cloud.http.session import HttpSession
from batchexport.errors import AuthenticationError, RefusedError
from batchexport.model import QuotaUse, StorageQuota

#: What `limits` calls the quotas of a project, and their use.
_IN_LIMITS: Mapping[str, tuple[str, str]] = {
    "volumes": ("maxTotalVolumes", "totalVolumesUsed"),
    "snapshots": ("maxTotalSnapshots", "totalSnapshotsUsed"),
    "gigabytes": ("maxTotalVolumeGigabytes", "totalGigabytesUsed"),
}


class QuotaSetResponse(msgspec.Struct):
    """The quotas by name; `id` is among them."""

    quota_set: dict[str, object]


class LimitsRecord(msgspec.Struct):
    """The limits of a project, and what is used of them, by name."""

    absolute: dict[str, object]


class LimitsResponse(msgspec.Struct):
    """The response that holds the limits of a project."""

    limits: LimitsRecord


_WHOLE = re.compile(r"-?[0-9]{1,15}")
_QUOTA_SET = LenientDecoder(QuotaSetResponse)
_LIMITS = LenientDecoder(LimitsResponse)


async def read_storage_quota(
    session: HttpSession, endpoint: Endpoint, project_id: str | None
) -> StorageQuota | None:
    """The quotas, by type as well where the cloud tells them so; None = it tells none to this user."""
    quotas: dict[str, QuotaUse] = {}
    if project_id is not None:
        path = f"/os-quota-sets/{quote(project_id, safe='')}?usage=True"
        try:
            quotas = by_name((await session.read(endpoint, path, _QUOTA_SET)).quota_set)
        except AuthenticationError:
            raise
        except RefusedError:  # operators may keep it for administrators; `limits` they rarely do
            pass
    if not quotas:
        try:
            quotas = from_limits((await session.read(endpoint, "/limits", _LIMITS)).limits.absolute)
        except AuthenticationError:
            raise
        except RefusedError:
            pass
    return StorageQuota(quotas=quotas) if quotas else None


def by_name(quota_set: Mapping[str, object]) -> dict[str, QuotaUse]:
    """The quotas of a quota set with their use; whatever else is in it is left out."""
    quotas = {}
    for name, record in quota_set.items():
        if not isinstance(record, Mapping) or (allowed := _whole(record.get("limit"))) is None:
            continue
        used = (_whole(record.get("in_use")) or 0) + (_whole(record.get("reserved")) or 0)
        quotas[name] = QuotaUse(allowed, used)
    return quotas


def from_limits(absolute: Mapping[str, object]) -> dict[str, QuotaUse]:
    """The quotas that `limits` tells."""
    quotas = {}
    for name, (allowed_name, used_name) in _IN_LIMITS.items():
        if (allowed := _whole(absolute.get(allowed_name))) is not None:
            quotas[name] = QuotaUse(allowed, _whole(absolute.get(used_name)) or 0)
    return quotas


def _whole(value: object) -> int | None:
    """A whole number, which some clouds send as text."""
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
