"""Copies of volumes in use: a temporary volume, and the snapshot it is made of where it cannot be a clone.

Two kinds of resources. Each is created by one request, under a name that no other request ever has, and a
mark in its metadata: what a lost answer left is found by both.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from batchexport.changes import Planned
from batchexport.config import InUse, Settings
from batchexport.dialect import DialectName
from batchexport.engine import decide
from batchexport.engine.ledger import Ledger, Subject
from batchexport.engine.ports import Cloud, Fence
from batchexport.engine.resources.book import Candidate, ResourceBook
from batchexport.engine.resources.kind import Selection
from batchexport.engine.resources.lifecycle import Limits, Seen
from batchexport.engine.steps.choose_image import ImageChooser
from batchexport.engine.steps.copy_burst import QuietBurst
from batchexport.engine.steps.copy_marks import CopyName, job_of, kind_of
from batchexport.engine.steps.copy_messages import messages
from batchexport.engine.steps.copy_moments import CopyMoments
from batchexport.engine.steps.copy_refusals import CopyRefusals, why_refused
from batchexport.engine.steps.copy_requests import CopyRequests
from batchexport.engine.steps.copy_retries import FAILED, CopyRetries
from batchexport.engine.steps.copy_schedule import CopySchedule
from batchexport.engine.steps.copy_watch import CopyWatch
from batchexport.engine.steps.listed_volumes import ListedVolumes
from batchexport.errors import CloudError
from batchexport.model import Ending, ExportRequest, Job, ResourceRef, ResourceState, ResourceType, Volume
from batchexport.plan.row_checks import Finding, needs_copy
from batchexport.store import JobWithResources, Resource, Work

log = logging.getLogger(__name__)

#: A copy whose request got no answer, and that nothing shows, was not made. A created snapshot was visible
#: less than a second after a lost answer.
ABSENT_AFTER_S = 60.0
#: A copy whose deletion was accepted is gone when lists have not shown it for this long.
GONE_AFTER_S = 10.0
#: One that may have been requested and never was seen is released when nothing showed it for this long.
NEVER_SEEN_S = 90.0
#: A copy that cannot be deleted for this long needs a person.
STUCK_AFTER_S = 900.0
#: Between two steps.
POLL_S = 10.0


class TemporaryVolume:
    """Makes copies of volumes in use, and deletes them: the volume first, then its snapshot."""

    stuck_s = STUCK_AFTER_S
    gib_factor = 2  # a copy, then its export
    is_created = True
    confirms = False
    busy: Mapping[str, str] = {}

    def __init__(self, cloud: Cloud, work: Work, ledger: Ledger, settings: Settings) -> None:
        self.book = ResourceBook(work, (ResourceType.SNAPSHOT, ResourceType.VOLUME), kind_of)
        self.messages = messages(cloud, work)
        self._cloud = cloud
        self._ledger = ledger
        self._policy = settings.in_use
        self._limits = settings.copies
        self._quiesce = settings.quiesce
        self._run_id = work.run.run_id
        self._known: dict[str, Resource] = {}  # planned or outstanding, by id
        self._fresh: set[str] = set()  # planned in this process, and certainly never requested
        self._schedule = CopySchedule(is_paced=settings.limits.poll_interval_s is None)
        self._watch = CopyWatch(cloud, self.book, self._run_id, self._fresh, self._schedule)
        self._retries = CopyRetries(settings.limits.retries)
        self._moments = CopyMoments(self.book, self._retries.made)
        self._requests = CopyRequests(
            cloud, self.book, self._run_id, self._known, self._fresh, self._watch, self._moments
        )
        self._chooser = ImageChooser(cloud, work, ledger)
        self._jobs: dict[int, Job] = {}  # that need copies
        makes_clones = cloud.dialect.name is DialectName.CINDER
        self._refusals = CopyRefusals(
            self.book, self._known, self._fresh, self._jobs, makes_clones=makes_clones
        )
        self._volumes = ListedVolumes(cloud)

    @property
    def poll_s(self) -> float:
        """Seconds until the next step. Most of them send nothing: lists are read when they can be of use."""
        return self._schedule.step_s(POLL_S)

    def limits(self, resource: Resource) -> Limits:
        """By size: copies take as long as exports. One that waits for its turn is not late."""
        acquire_s = decide.deadline_s(resource.size_gib, None)
        return Limits(
            acquire_s=math.inf if resource.resource_id in self._fresh else acquire_s,
            absent_s=ABSENT_AFTER_S,
            free_s=GONE_AFTER_S,
            stable_s=NEVER_SEEN_S,
            lag_s=2 * GONE_AFTER_S,
            stuck_s=STUCK_AFTER_S,
            is_created=True,
        )

    def has_room(self, rows: Sequence[JobWithResources], *, outstanding: Sequence[Resource]) -> bool:
        """Whether copies for so many more jobs may be made; a group that is too large goes by itself."""
        if not outstanding:
            return True
        jobs = {job_of(each.resource_id) for each in outstanding}
        new = [row.job for row in rows if row.job.job_id not in jobs]
        if len(jobs) + len(new) > min(self._limits.max_temporary, self._refusals.most):
            return False
        if self._limits.max_temporary_gib is None:
            return True
        gib = sum(each.size_gib or 0 for each in outstanding if each.kind == ResourceType.VOLUME)
        return gib + sum(job.size_gib or 0 for job in new) <= self._limits.max_temporary_gib

    def is_needed_by(self, job: Job) -> bool:
        """Whether a copy of the volume is to be exported while it is in use."""
        return (job.options.in_use or self._policy) is InUse.SNAPSHOT

    def needs(self, volume: Volume, findings: Sequence[Finding]) -> Sequence[Planned] | None:
        """A copy of a volume in use; which is chosen when it begins."""
        return () if needs_copy(findings) else None

    def why_useless(self) -> Ending | None:
        """Copies are of use as long as the cloud makes them."""
        return None

    async def poll(
        self, outstanding: Sequence[Resource], jobs: Sequence[JobWithResources]
    ) -> Mapping[str, Seen]:
        """Snapshots and volumes of ours, as lists show them, those that are missing by their ids."""
        self._jobs.update((row.job.job_id, row.job) for row in jobs)
        needed = {resource_id for row in jobs for resource_id in row.needs}
        seen, known = await self._watch.poll(outstanding, needed=needed, at_s=self._ledger.now())
        self._known.update(known)
        if self._watch.is_noting:
            await self._moments.observe(list(known.values()), self._watch.created_at)
        return seen

    def subject_of(self, job: JobWithResources, outstanding: Sequence[Resource]) -> Subject | None:
        """The temporary volume that is exported in place of the job's own."""
        for each in outstanding:
            if each.resource_id in job.needs and each.kind == ResourceType.VOLUME and each.cloud_id:
                is_chosen = self._chooser.is_on and self._run_id not in job.job.image_name
                return Subject(
                    volume_id=each.cloud_id,
                    note=self._requests.made_of(each),
                    copy_name=each.resource_id if is_chosen else None,
                )
        return None

    async def clear(self, job: Job, request: ExportRequest, *, is_held: bool) -> ExportRequest | None:
        """The request for the copy, or for the volume itself: unforced, one in use is refused, and waits."""
        if not is_held:
            return request
        if (subject := self._ledger.subjects.get(job.job_id)) is not None:
            request = replace(request, volume_id=subject.volume_id)
            if subject.copy_name is None or not self._chooser.is_on:
                return request
            return await self._chooser.choose(job, request, subject.copy_name)
        self._ledger.resources_held.discard(job.job_id)
        self._ledger.hold_unsent(job)
        return None

    async def confirm(self, jobs: Sequence[JobWithResources]) -> None:
        """Nothing is left to be seen: the copy cannot change."""

    async def refresh(self, job: JobWithResources) -> JobWithResources:
        """The job with the size of its volume; one that is not in use any more is let go."""
        volume = await self._volumes.get(job.job.volume_id)
        if volume is None or volume.status != "in-use":
            await self.book.detach([job.job])
            self._ledger.let_start([])
            return replace(job, held=False, needs=())
        return replace(job, job=replace(job.job, size_gib=volume.size_gib or job.job.size_gib))

    def together(self, jobs: Sequence[JobWithResources]) -> frozenset[str]:
        """The volumes on the servers of these jobs: their snapshots are to be of one moment."""
        return self._volumes.on_servers_of(row.job.volume_id for row in jobs)

    async def plan(self, jobs: Sequence[JobWithResources]) -> Sequence[JobWithResources]:
        """The jobs with what they need: a clone, or where several are to be of one moment, by snapshots."""
        planned = []
        token = secrets.token_hex(3)
        jobs = [row for row in jobs if self._retries.is_due(row.job.job_id)]
        for row in jobs:
            self._jobs[row.job.job_id] = row.job
            mine = row.job.volume_id
            others = [
                each
                for each in jobs
                if each is not row and self._volumes.share_server(mine, each.job.volume_id)
            ]
            needs = self._choose(row.job, token, is_burst=bool(others))
            await self.book.plan(row.job, needs)
            for each in needs:
                self._fresh.add(each.ref.resource_id)
                self._known[each.ref.resource_id] = Resource(
                    kind=each.ref.kind,
                    resource_id=each.ref.resource_id,
                    name=None,
                    state=ResourceState.IDLE,
                    depends_on=each.depends_on,
                    volume_id=each.volume_id,
                    size_gib=each.size_gib,
                )
            planned.append(replace(row, needs=tuple(sorted(each.ref.resource_id for each in needs))))
        return planned

    def _choose(self, job: Job, token: str, *, is_burst: bool) -> list[Planned]:
        volume = self._planned(job, token, ResourceType.VOLUME)
        if self._refusals.makes_clones and not is_burst and not self._quiesce:
            return [volume]
        snapshot = self._planned(job, token, ResourceType.SNAPSHOT)
        return [snapshot, replace(volume, depends_on=snapshot.ref.resource_id)]

    def _planned(self, job: Job, token: str, kind: ResourceType) -> Planned:
        name = CopyName(
            kind=kind,
            run_id=self._run_id,
            job_id=job.job_id,
            attempt=job.attempt + 1,
            token=token,
        )
        return Planned(ref=ResourceRef(kind, str(name)), volume_id=job.volume_id, size_gib=job.size_gib)

    async def select(self, jobs: Sequence[JobWithResources], outstanding: Collection[str]) -> Selection:
        """All that was planned for these jobs."""
        ids = [each for row in jobs for each in row.needs if each not in outstanding]
        return Selection(
            acquire=tuple(Candidate(each, depends_on=self._known[each].depends_on) for each in ids)
        )

    async def acquire(self, resource_ids: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
        """Request these, all at once: one request for each, and never a second one under its name."""
        failed = await self._create(resource_ids, fence)
        for resource_id, error in failed.items():
            await self._refusals.note(resource_id, error)
        return failed

    async def _create(self, resource_ids: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
        snapshots = [each for each in resource_ids if kind_of(each) == ResourceType.SNAPSHOT]
        if not (self._quiesce and snapshots):
            return await self._requests.create(resource_ids, fence)
        failed, note = await QuietBurst(self._cloud, self._quiesce).make(
            snapshots,
            await self._volumes.by_server(self._known[each].volume_id or "" for each in snapshots),
            lambda: self._requests.create(snapshots, fence),
            lambda: self._requests.made(snapshots),
        )
        await self._moments.add(snapshots, note)
        if volumes := [each for each in resource_ids if each not in snapshots]:
            failed = {**failed, **await self._requests.create(volumes, fence)}
        return failed

    async def try_anew(self, resource: Resource, status: str) -> bool:
        """Whether the job of a copy that ended in an error gets another one."""
        job_id = job_of(resource.resource_id)
        if status != FAILED or job_id not in self._jobs or not self._retries.failed(job_id):
            return False
        extra = {"action": "copy_failed", "job_id": job_id, "resource_id": resource.resource_id}
        log.warning("%s ended in an error; it is deleted, and another one made", resource, extra=extra)
        await self.book.plan(self._jobs[job_id], ())
        return True

    def is_final(self, resource_id: str, error: CloudError) -> bool:
        """Whether the request was refused for good."""
        return self._refusals.is_final(resource_id, error)

    async def releasable(self, resource_ids: Sequence[str]) -> list[str]:
        """Those that nothing of ours is made of, as the keeper sees to."""
        return list(resource_ids)

    async def release(self, resource_ids: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
        """Request these to be deleted: what is proved ours, and what nobody else uses."""
        return await self._requests.delete(resource_ids, fence)

    def forget(self, resource_id: str) -> None:
        """The copy is gone."""
        self._watch.forget(resource_id)
        self._known.pop(resource_id, None)
        self._fresh.discard(resource_id)

    def without_store(self, own_volumes: frozenset[str]) -> TemporaryVolume:
        """Copies are found by what the store last said, and noted nowhere."""
        self._watch.is_noting = False
        self._schedule.is_paced = False
        return self

    def why_refused(self, error: CloudError) -> Ending:
        """How a job fails of whose volume the cloud makes no copy."""
        return why_refused(error)

    def why_not_acquired(self, resource: Resource, status: str, answer: str | None) -> Ending:
        """How a job fails whose copy did not become available."""
        reason = f"not sent: {resource}, the copy of its volume, is {status}"
        if (failed := self._retries.made(job_of(resource.resource_id))) > 1:
            reason += f" (attempt {failed} of {failed})"
        return Ending(reason=f"{reason}: {answer}" if answer else reason, code="copy_failed")

    def why_taken_back(self, resource: Resource) -> Ending:
        """How a job fails whose copy somebody deleted before the export began."""
        reason = f"not sent: somebody deleted {resource}, the copy of its volume"
        return Ending(reason=reason, code="copy_deleted")
