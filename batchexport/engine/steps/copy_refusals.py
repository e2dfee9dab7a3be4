"""What follows from refused requests for copies: the job fails, waits, or gets another kind of copy later."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection, Mapping

from msgspec.structs import replace

from batchexport.engine.resources.book import ResourceBook
from batchexport.engine.resources.groups import not_sent
from batchexport.engine.resources.kind import is_refused
from batchexport.engine.steps.copy_burst import QUIESCE_FAILED
from batchexport.engine.steps.copy_marks import job_of
from batchexport.errors import AuthenticationError, CloudError, QuotaError, RefusedError, VolumeStateError
from batchexport.model import Ending, Job, ResourceType
from batchexport.store import Resource

log = logging.getLogger(__name__)

#: How long no more copies are made at once than the quota has just allowed.
QUOTA_S = 600.0
#: A quota that refuses a copy for this long, with no other copy of ours there, is used up by others.
QUOTA_LAG_S = 60.0


class CopyRefusals:
    """Remembers what was refused, and how many copies a quota allows. Times are loop times."""

    def __init__(
        self,
        book: ResourceBook,
        known: Mapping[str, Resource],
        fresh: Collection[str],
        jobs: Mapping[int, Job],
        *,
        makes_clones: bool,
    ) -> None:
        """`known`: by id, what is planned or outstanding; `fresh`: ids of what was never requested;
        `jobs`: those that need copies, by id.
        """
        self._book = book
        self._known = known
        self._fresh = fresh
        self._jobs = jobs
        self.makes_clones = makes_clones  #: as far as known
        self._forgiven: set[str] = set()  # ids of copies whose refusal fails no job
        self._most = math.inf  # jobs with copies at once, by what a quota allowed
        self._most_until = 0.0
        self._no_quota_since: dict[int, float] = {}  # by job id, with nothing of ours to wait for

    @property
    def most(self) -> float:
        """How many jobs may have copies at once, by what a quota has just allowed."""
        return self._most if asyncio.get_running_loop().time() < self._most_until else math.inf

    async def note(self, resource_id: str, error: CloudError) -> None:
        """The request for this copy was not accepted."""
        job_id = job_of(resource_id)
        if isinstance(error, QuotaError):
            await self._note_quota(resource_id, job_id)
        elif isinstance(error, VolumeStateError):
            self._forgiven.add(resource_id)  # somebody's export, or another change that passes
        elif self._is_clone(resource_id) and is_refused(error) and not isinstance(error, AuthenticationError):
            self.makes_clones = False
            extra = {"action": "clone_refused", "job_id": job_id}
            log.warning("the cloud makes no clone (%s); copying by way of snapshots", error, extra=extra)
            await self._put_off(resource_id, job_id)

    def _is_clone(self, resource_id: str) -> bool:
        resource = self._known.get(resource_id)
        is_volume = resource is not None and resource.kind == ResourceType.VOLUME
        return is_volume and resource is not None and resource.depends_on is None

    async def _note_quota(self, resource_id: str, job_id: int) -> None:
        """A quota is used up. By copies of ours: the job waits for their release. By others: it fails."""
        others = [each for each in self._known.values() if job_of(each.resource_id) != job_id]
        others = [each for each in others if each.resource_id not in self._fresh]
        loop_now = asyncio.get_running_loop().time()
        if not others:  # what was just deleted may still count
            if loop_now - self._no_quota_since.setdefault(job_id, loop_now) < QUOTA_LAG_S:
                self._forgiven.add(resource_id)
            return
        self._no_quota_since.pop(job_id, None)
        jobs = {job_of(each.resource_id) for each in others}
        self._most, self._most_until = max(1, len(jobs)), loop_now + QUOTA_S
        extra = {"action": "quota_waits", "job_id": job_id, "resource_id": resource_id}
        log.warning(
            "%s: the quota is used up; waiting for copies of ours to be released", resource_id, extra=extra
        )
        if any(each.kind == ResourceType.VOLUME for each in others):
            self._forgiven.add(resource_id)
        else:  # snapshots that wait for volumes themselves: this one makes room for theirs
            await self._put_off(resource_id, job_id)

    async def _put_off(self, resource_id: str, job_id: int) -> None:
        """The job needs this copy no more, and gets another one later."""
        self._forgiven.add(resource_id)
        if (job := self._jobs.get(job_id)) is not None:
            await self._book.plan(job, ())

    def is_final(self, resource_id: str, error: CloudError) -> bool:
        """Whether the request was refused for good."""
        is_forgiven = resource_id in self._forgiven
        self._forgiven.discard(resource_id)
        return isinstance(error, RefusedError) and is_refused(error) and not is_forgiven


def why_refused(error: CloudError) -> Ending:
    """How a job fails of whose volume the cloud makes no copy."""
    if error.code == QUIESCE_FAILED:
        return not_sent("its server could not be held for the snapshot", error)
    ending = not_sent("the cloud makes no copy of its volume, which is in use", error)
    return ending if error.code else replace(ending, code="copy_refused")
