"""What a run would find, target by target, without sending anything."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from batchexport.config import Settings
from batchexport.deliveries import DeliveryPolicy
from batchexport.dialect import DialectName
from batchexport.engine.ports import Cloud
from batchexport.engine.run import Connect, on_each_target
from batchexport.engine.steps.server_eligibility import why_not_stopped
from batchexport.errors import CloudError
from batchexport.model import TargetKey, Volume
from batchexport.plan import PlanSummary, Rules, check_row, take_inventory
from batchexport.plan.copies import Copies
from batchexport.plan.deliveries import PlannedDelivery, check_delivery
from batchexport.plan.row_checks import Finding, Severity, name_taken
from batchexport.store import NeverAttempted, Store, Work

log = logging.getLogger(__name__)


async def plan(state: Store, connect: Connect, settings: Settings) -> Mapping[TargetKey, PlanSummary]:
    """Check every job of a new state file against its cloud. Raises what `on_each_target` raises."""
    keys = {target.target_id: target.key for target in state.targets}
    summaries = {key: PlanSummary() for key in keys.values()}

    async def one(cloud: Cloud, work: Work) -> None:
        await _plan_target(cloud, work, settings, summaries[keys[work.target_id]])

    await on_each_target(state, connect, one, file_lost=lambda: None)
    return summaries


async def _plan_target(cloud: Cloud, work: Work, settings: Settings, summary: PlanSummary) -> None:
    """Fill the summary of one target. Costs pages, and a few volumes that no page shows."""
    rules = Rules(dialect=cloud.dialect, image=settings.image, in_use=settings.in_use)
    is_cloning = cloud.dialect.name is DialectName.CINDER and not settings.quiesce
    summary.copies = Copies(makes_clones=is_cloning)
    summary.copy_limits = settings.copies
    summary.quota = await cloud.image.get_quota()
    taken = await _taken_names(cloud, work, summary)
    policy = DeliveryPolicy(destinations=settings.deliveries.deliver or ())

    def seen(row: NeverAttempted, volume: Volume | None) -> None:
        findings = check_row(row.job, volume, rules)
        if row.job.job_id in taken:
            findings.append(name_taken(row.job))
        if volume is not None and (destinations := policy.of(row.job.options.deliver)):
            options = row.job.options.over(settings.image)
            findings += check_delivery(volume, options, destinations)
            for each in destinations:
                summary.deliveries.setdefault(each, PlannedDelivery()).add(volume, options, cloud.dialect)
        summary.add(row, volume, findings)

    unseen = await take_inventory(cloud, work, seen, read_all=True)
    await _read_servers(cloud, summary)
    if summary.copies:
        summary.storage_quota = await cloud.copies.get_storage_quota()
    if unseen.missing:
        summary.presumed_missing = unseen.rows
    else:
        summary.unseen = unseen.rows


async def _read_servers(cloud: Cloud, summary: PlanSummary) -> None:
    """Note the servers that jobs need stopped; those that the cloud does not show are left out."""
    if not summary.volumes_by_server:
        return
    try:
        async for page in cloud.compute.servers(sorted(summary.volumes_by_server)):
            summary.servers.update((server.server_id, server) for server in page)
    except CloudError as error:
        extra = {"action": "servers_unreadable"}
        log.warning("cannot read the servers that are to be stopped (%s)", error, extra=extra)
    for server in summary.servers.values():
        if (words := why_not_stopped(server)) is not None:
            code = "server_status" if server.exists else "server_not_found"
            summary.rule_out(server.server_id, Finding(severity=Severity.BLOCKED, code=code, words=words))


async def _taken_names(cloud: Cloud, work: Work, summary: PlanSummary) -> set[int]:
    """The ids of jobs whose image name is taken; the images are counted on the way."""
    taken: set[int] = set()
    async for page in cloud.image.images():
        summary.images += len(page)
        rows = await work.unchecked(image_names=list({image.name for image in page}))
        taken.update(row.job.job_id for row in rows)
    return taken
