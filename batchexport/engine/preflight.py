"""Before anything is sent: which of the rows never tried can go, and how large their volumes are."""

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
from batchexport.store import RunRecord, Unsent, Work

log = logging.getLogger(__name__)


#: A volume that is nowhere to be seen is looked for once more after so many seconds, or the settling time if
#: that is shorter: the list and the read by id may both come from a replica that lags.
MISSING_AGAIN_S = 10.0


def is_wanted(settings: Settings, run: RunRecord) -> bool:
    """Whether the volumes are to be looked at first: always where it is asked which servers they hang on."""
    return settings.preflight or settings.in_use is InUse.STOP or run.stop_rows > 0


async def preflight(cloud: Cloud, work: Work, ledger: Ledger, settings: Settings, kind: ResourceKind) -> None:
    """End every row that cannot go, without sending it, and note the sizes of the volumes.

    Rows that servers are to be stopped for are held; without `settings.preflight` that is all. Costs pages.
    Rows that were tried or looked at before are passed over, and nothing is asked for none. What the cloud
    does not want to list is found out by sending: the run goes on without.
    """
    if not await work.unsized():
        return
    rules = Rules(dialect=cloud.dialect, image=settings.image, in_use=settings.in_use)
    ended: Counter[JobState] = Counter()
    missing: list[Unsent] = []

    def first_seen(row: Unsent, volume: Volume | None) -> None:
        if volume is None:
            missing.append(row)
        else:
            seen(row, volume)

    def seen(row: Unsent, volume: Volume | None) -> None:
        findings = check_row(row.job, volume, rules)
        if (ending := ending_for(findings)) is None:
            if volume is not None and (needs := kind.needs(volume, findings)) is not None:
                ledger.hold(row.job, needs)
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
            await _look_again(cloud, missing, seen)
        if settings.preflight:
            await _compare_quota(cloud, work, ledger)
    except CloudError as error:
        log.warning("cannot look at the volumes first (%s); going on without", error)
    for job_state, rows in ended.items():
        are = "1 row cannot go and is" if rows == 1 else f"{rows} rows cannot go and are"
        log.warning(
            "preflight: %s %s, nothing was sent for %s", are, job_state, "it" if rows == 1 else "them"
        )


async def _look_again(
    cloud: Cloud, missing: Sequence[Unsent], seen: Callable[[Unsent, Volume | None], None]
) -> None:
    """Look again for volumes that were not there: by the list, then by their ids.

    Rows whose volumes appear nowhere then are told of to `seen` as missing, others as what they are. Raises
    CloudError where the list cannot be read: the rows stay pending, and are found out by sending.
    """
    rows = {row.job.volume_id: row for row in missing}
    async for page in cloud.block_storage.volumes():
        for volume in page:
            if (row := rows.pop(volume.volume_id, None)) is not None:
                seen(row, volume)
    for row in rows.values():
        seen(row, await cloud.block_storage.get_volume(row.job.volume_id))


async def _compare_quota(cloud: Cloud, work: Work, ledger: Ledger) -> None:
    """Warn where the project has no room for the images. Rows are left alone: images may be removed."""
    quota = await cloud.image.get_quota()
    if quota is not None and (rows := await work.pending()) > quota.left:
        log.warning(
            "preflight: %d rows to export, but the project may have %d images and has %d",
            rows,
            quota.allowed,
            quota.used,
        )
