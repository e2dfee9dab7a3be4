"""A kind of resource that shows how little the next one takes: a permit that is granted after a while.

Each volume needs one of its own. It is created by a request, whose answer may be lost, and is to be deleted
whatever ends the run, as snapshots and temporary volumes will be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from batchexport.changes import Planned
from batchexport.config import Settings
from batchexport.engine.ledger import Ledger
from batchexport.engine.ports import Fence
from batchexport.engine.resources.book import Candidate, ResourceBook
from batchexport.engine.resources.kind import Messages, ResourceKind, Selection
from batchexport.engine.resources.lifecycle import Limits, Seen
from batchexport.errors import CloudError
from batchexport.model import Ending, ExportRequest, Job, ResourceRef, ResourceState, Volume
from batchexport.store import JobWithResources, Resource, Work

SAME = dict.fromkeys(Messages.__struct_fields__, "permit %s")
OTHERS: dict[str, Any] = {"states": {state: state.value for state in ResourceState}, "stuck": "permit %s: %s"}
LIMITS = Limits(
    acquire_s=600.0, absent_s=30.0, free_s=30.0, stable_s=60.0, lag_s=20.0, stuck_s=3600.0, is_created=True
)
MESSAGES = Messages(**{**SAME, **OTHERS})


class Permit(ResourceKind):
    """Acquired and released on a `PermitCloud`."""

    messages = MESSAGES
    poll_s = 5.0
    stuck_s = 3600.0
    is_created = True
    confirms = True

    def __init__(self, cloud: Any, work: Work, ledger: Ledger, settings: Settings) -> None:
        self._cloud = cloud
        self.book = self._book = ResourceBook(work, ("permit",))
        self._ledger = ledger

    def limits(self, resource: Resource) -> Limits:
        return LIMITS

    def has_room(self, rows: Sequence[JobWithResources], *, outstanding: Sequence[Resource]) -> bool:
        return len(outstanding) + len(rows) <= 3

    def is_needed_by(self, job: Job) -> bool:
        return True

    def needs(self, volume: Volume, findings: Sequence[object]) -> Sequence[Planned]:
        return [Planned(ref=ResourceRef("permit", f"permit-{volume.volume_id}"))]

    async def clear(self, job: Job, request: ExportRequest, *, is_held: bool) -> ExportRequest | None:
        if is_held:
            return request
        self._ledger.hold_unsent(job)
        return None

    async def poll(
        self, outstanding: Sequence[Resource], jobs: Sequence[JobWithResources]
    ) -> Mapping[str, Seen]:
        wanted = {each.resource_id for each in outstanding}.union(*(row.needs for row in jobs))
        return {each: Seen(self._cloud.look_at_permit(each)) for each in sorted(wanted)}

    async def confirm(self, jobs: Sequence[JobWithResources]) -> None:
        self._ledger.confirmable.clear()
        for job_id, (_, ending) in list(self._ledger.to_confirm.items()):
            self._ledger.confirm(job_id, ending)

    async def refresh(self, job: JobWithResources) -> JobWithResources:
        needs = (f"permit-{job.job.volume_id}",)
        if job.needs != needs:
            await self._book.needs(job.job, needs)
        return replace(job, needs=needs)

    async def select(self, jobs: Sequence[JobWithResources], outstanding: Collection[str]) -> Selection:
        needed = {each for row in jobs for each in row.needs} - set(outstanding)
        return Selection(acquire=tuple(map(Candidate, sorted(needed))))

    async def acquire(self, resource_ids: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
        return dict(self._cloud.change_permits("acquire", resource_ids, fence))

    async def release(self, resource_ids: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
        return dict(self._cloud.change_permits("release", resource_ids, fence))

    def why_refused(self, error: CloudError) -> Ending:
        return Ending(reason=f"not sent: no permit: {error}", code="permit_refused")

    def why_not_acquired(self, resource: Resource, status: str, answer: str | None) -> Ending:
        return Ending(reason=f"not sent: {resource} was not granted in time", code="permit_late")

    def why_taken_back(self, resource: Resource) -> Ending:
        return Ending(reason=f"not sent: {resource} was revoked", code="permit_revoked")
