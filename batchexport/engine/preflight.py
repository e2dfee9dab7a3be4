"""Preflight: before anything is sent, which new jobs can be exported, and how large their volumes are."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from batchexport.config import InUse, Settings
from batchexport.engine.ledger import Ledger
from batchexport.engine.ports import Cloud
from batchexport.engine.resources.kind import ResourceKind
from batchexport.errors import CloudError
from batchexport.model import JobState, Volume
from batchexport.plan import Rules, check_row, take_inventory
from batchexport.plan.row_checks import ending_for
from batchexport.store import NeverAttempted, RunRecord, Work

log = logging.getLogger(__name__)


#: A missing volume is looked for once more after this time, or the in-doubt timeout if that is shorter: the
#: list and the read by id may both come from a replica that lags.
MISSING_AGAIN_S = 10.0


def is_wanted(settings: Settings, run: RunRecord) -> bool:
    """Whether to check the volumes first: always where something may have to be done for those in use."""
    return settings.preflight or settings.in_use in (InUse.STOP, InUse.SNAPSHOT) or run.stop_rows > 0


async def preflight(
    cloud: Cloud, work: Work, ledger: Ledger, settings: Settings, kinds: Sequence[ResourceKind]
) -> None:
    """Fail or skip every job that cannot be exported, without sending it, and note the sizes of the volumes.

    Jobs that need resources are held; without `settings.preflight` that is all. Costs pages, and
    nothing if no job is new. Where the cloud refuses its lists, the run goes on without.
    """
    if not (await work.pending()).unchecked:
        return
    rules = Rules(dialect=cloud.dialect, image=settings.image, in_use=settings.in_use)
    ended: Counter[JobState] = Counter()
    missing: list[NeverAttempted] = []

    def first_seen(row: NeverAttempted, volume: Volume | None) -> None:
        if volume is None:
            missing.append(row)
        else:
            seen(row, volume)

    def seen(row: NeverAttempted, volume: Volume | None) -> None:
        findings = check_row(row.job, volume, rules)
        if (ending := ending_for(findings)) is None:
            if volume is not None and findings:
                for kind in kinds:
                    if (needs := kind.needs(volume, findings)) is not None:
                        ledger.hold(row.job, needs)
                        return
            return
        if not settings.preflight:
            return
        size_gib = None if volume is None else volume.size_gib
        ledger.reject(replace(row.job, size_gib=size_gib), *ending)
        ended[ending[0]] += 1

    try:
        await take_inventory(cloud, work, first_seen)
        if missing and settings.preflight:
            await asyncio.sleep(min(MISSING_AGAIN_S, settings.limits.settle_s))
            await _check_again(cloud, missing, seen)
        if settings.preflight:
            await _compare_quota(cloud, work, ledger)
    except CloudError as error:
        log.warning(
            "cannot check the volumes first (%s); continuing without",
            error,
            extra={"action": "preflight_failed"},
        )
    for job_state, rows in ended.items():
        which = (
            "1 row that cannot be exported is" if rows == 1 else f"{rows} rows that cannot be exported are"
        )
        extra: dict[str, object] = {"action": f"preflight_{job_state}", "rows": rows}
        log.warning("preflight: %s %s; nothing was sent", which, job_state, extra=extra)


async def _check_again(
    cloud: Cloud, missing: Sequence[NeverAttempted], seen: Callable[[NeverAttempted, Volume | None], None]
) -> None:
    """Look once more for missing volumes, in the list and then by their ids, and pass them to `seen`.

    Raises CloudError where the list cannot be read: the jobs stay pending, and are sent.
    """
    rows = {row.job.volume_id: row for row in missing}
    async for page in cloud.block_storage.volumes():
        for volume in page:
            if (row := rows.pop(volume.volume_id, None)) is not None:
                seen(row, volume)
    for row in rows.values():
        seen(row, await cloud.block_storage.get_volume(row.job.volume_id))


async def _compare_quota(cloud: Cloud, work: Work, ledger: Ledger) -> None:
    """Warn where the image quota is too small. Jobs stay as they are: images may be removed meanwhile."""
    quota = await cloud.image.get_quota()
    if quota is not None and (rows := (await work.pending()).jobs) > quota.left:
        log.warning(
            "preflight: %d rows to export, but the project may have %d images and has %d",
            rows,
            quota.allowed,
            quota.used,
            extra={"action": "quota_too_small", "rows": rows, "allowed": quota.allowed, "used": quota.used},
        )
