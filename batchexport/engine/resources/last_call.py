"""When the store cannot be written any more: resources that no export needs are released all the same.

To release one twice does no harm, so this needs no record: the store says that it is held, and the next
process finds it released.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence

from batchexport.engine.ledger import Ledger
from batchexport.engine.operations import perform
from batchexport.engine.ports import Fence
from batchexport.engine.resources.kind import ResourceKind
from batchexport.engine.resources.lifecycle import UNKNOWN, Condition
from batchexport.errors import BatchExportError, CloudError, StateError
from batchexport.model import JobState
from batchexport.store import LeftOver, Resource, Work

log = logging.getLogger(__name__)

#: The run is over; it tries for this long to release what it can.
WITHIN_S = 60.0
ASK_EVERY_S = 5.0


async def last_call(kind: ResourceKind, work: Work, ledger: Ledger) -> str | None:
    """Release what no job in progress needs, as far as that goes within a minute.

    Returns what is not known to be released, and what releases it; None where there is nothing.
    """
    try:
        left = work.resources.left_over(kind.book.kinds)
    except StateError as error:
        return kind.messages.last_unread % error
    if left is None or not left.resources:
        return None
    kind = kind.without_store(left.volume_ids)
    outstanding = left.resources
    needed = _needed(left, ledger)
    waiting = {each.resource_id: each for each in outstanding if each.resource_id not in needed}
    requested: list[Resource] = []
    try:
        async with asyncio.timeout(WITHIN_S):
            while waiting:
                done = await _release(kind, work, list(waiting.values()))
                requested += [waiting.pop(resource_id) for resource_id in done]
                if waiting:
                    await asyncio.sleep(ASK_EVERY_S)
    except TimeoutError:
        log.warning(kind.messages.last_late, "no time left", extra={"action": "last_call_timeout"})
    except BatchExportError as error:
        extra = {"action": "last_call_failed"}
        log.warning(kind.messages.last_late, error, extra=extra)
    parts = []
    if requested:
        parts.append(kind.messages.last_requested % ", ".join(map(str, requested)))
    if kept := [resource for resource in outstanding if resource not in requested]:
        parts.append(kind.messages.last_kept % ", ".join(map(str, kept)))
    return f"{'; '.join(parts)}; {kind.messages.last_hint}"


def _needed(left: LeftOver, ledger: Ledger) -> set[str]:
    """The ids of what exports in progress need, as far as memory knows better than the store."""
    exporting = {job.job_id for job in ledger.exporting.values()} - ledger.to_confirm.keys()
    in_progress = exporting | ledger.in_doubt.keys() | ledger.sending
    return {
        resource_id
        for row in left.rows
        if row.state is not JobState.PENDING and row.job.job_id in in_progress
        for resource_id in row.needs
    }


async def _release(kind: ResourceKind, work: Work, resources: Sequence[Resource]) -> list[str]:
    """The ids of those of these whose release was accepted, or that need none."""
    try:
        seen = await kind.poll(resources, ())
        releasable = await kind.releasable([resource.resource_id for resource in resources])
        kept = (Condition.HELD, Condition.UNKNOWN)
        held = [each for each in releasable if seen.get(each, UNKNOWN).condition in kept]
        release = _Release(kind, held)
        if held:
            await perform(release, [work], fresh=False)  # nobody can renew the lease
    except CloudError as error:
        log.warning(kind.messages.unseen, error, extra={"action": "release_failed"})
        return []
    for resource_id, why in release.failures.items():
        extra = {"action": "release_failed", kind.messages.id_field: resource_id}
        log.warning(
            "%s: the request was not accepted (%s)", kind.messages.name % resource_id, why, extra=extra
        )
    return [each for each in releasable if each not in release.failures]


class _Release:
    """Releases what the store, which cannot be written, says is held."""

    def __init__(self, kind: ResourceKind, resource_ids: Collection[str]) -> None:
        self._kind = kind
        self._resource_ids = list(resource_ids)
        self.failures: Mapping[str, CloudError] = {}

    async def record(self) -> None:
        """It is on disk as held, which says the same to whoever comes next."""

    def may_send(self) -> bool:
        return True

    async def send(self, fence: Fence) -> Mapping[str, CloudError]:
        return await self._kind.release(self._resource_ids, fence)

    async def answered(self, answer: Mapping[str, CloudError]) -> None:
        self.failures = answer

    async def failed(self, error: CloudError) -> None:
        raise error
