"""Connected components of jobs and resources: jobs that share resources start together or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

import msgspec

from batchexport.engine.ledger import Ledger, log_fields
from batchexport.engine.polling import is_signed_out
from batchexport.engine.resources.book import ResourceBook
from batchexport.engine.resources.kind import ResourceKind, Selection
from batchexport.errors import CloudError, RefusedError
from batchexport.model import Ending, Job, JobState
from batchexport.store import JobWithResources

log = logging.getLogger(__name__)

#: Held jobs read at a time; the first that can start is mostly among the first.
PAGE = 100
#: How long a group is left alone that waits for a changing resource.
LOOK_AGAIN_S = 30.0
#: A job whose needs cannot be read for this long fails: what is refused stays refused, an outage may last.
REFUSED_MAX_S, AWAY_MAX_S = 120.0, 3600.0


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs that are connected by their resources, read a moment ago."""

    jobs: Sequence[JobWithResources]
    selection: Selection


class Groups:
    """Finds the next jobs to acquire resources for, in the order of the list."""

    def __init__(
        self,
        kind: ResourceKind,
        book: ResourceBook,
        ledger: Ledger,
        *,
        may_start: Callable[[JobWithResources], bool],
        is_anothers: Callable[[Job], bool],
    ) -> None:
        """`is_anothers`: whether a job needs resources of another kind."""
        self._is_anothers = is_anothers
        self.are_all_anothers = False  #: the latest `next` found no job that needs resources of this kind
        self._kind = kind
        self._book = book
        self._ledger = ledger
        self._may_start = may_start
        self._later: dict[int, float] = {}  # job id -> loop time before which it is passed over
        self._unread_since: dict[int, float] = {}  # job id -> loop time since which no read worked

    async def next(self, *, but: Collection[int], outstanding: Collection[str]) -> list[JobWithResources]:
        """The first held job that may start, and all connected with it; empty where there is none.

        Jobs in `but`, and those all of whose resources are outstanding, are passed over.
        """
        loop_now = asyncio.get_running_loop().time()
        last = 0
        self.are_all_anothers = True
        while page := await self._book.held_jobs(last, limit=PAGE):
            last = page[-1].job.job_id
            for row in await self._needing(page):
                self.are_all_anothers = False
                in_hand = row.needs and set(row.needs) <= set(outstanding)
                if row.job.job_id in but or in_hand or self._later.get(row.job.job_id, 0.0) > loop_now:
                    continue
                if self._may_start(row):
                    return await self._connected([row])
        return []

    async def fail_all(self, ending: Ending) -> None:
        """Fail every held job."""
        last = 0
        while page := await self._book.held_jobs(last, limit=PAGE):
            last = page[-1].job.job_id
            for row in await self._needing(page):
                self._ledger.reject(row.job, JobState.FAILED, ending)

    async def read(self, rows: Sequence[JobWithResources], *, outstanding: Collection[str]) -> Group:
        """The group as it is now: its jobs one by one, for they may have waited long, then its resources.

        A group of which a job cannot be read is left for later, and empty.
        """
        fresh: dict[int, JobWithResources] = {}
        while new := [row for row in rows if row.job.job_id not in fresh]:
            for row in new:
                try:
                    fresh[row.job.job_id] = await self._kind.refresh(row) if row.held else row
                except CloudError as error:
                    self._note_unread(row, rows, error)
                    return Group(jobs=(), selection=Selection())
                self._unread_since.pop(row.job.job_id, None)
            rows = await self._connected([row for row in fresh.values() if row.needs])
            if volume_ids := self._kind.together([row for row in fresh.values() if row.held]):
                rows += await self._held_of(volume_ids, but={*fresh, *(row.job.job_id for row in rows)})
        rows = list({row.job.job_id: row for row in (*fresh.values(), *rows)}.values())
        rows = await self._kind.plan([row for row in rows if row.held and self._may_start(row)])
        return Group(jobs=rows, selection=await self._kind.select(rows, outstanding))

    async def _held_of(self, volume_ids: Collection[str], *, but: Collection[int]) -> list[JobWithResources]:
        """The held jobs for these volumes that have no resources yet."""
        found: list[JobWithResources] = []
        last = 0
        while page := await self._book.held_jobs(last, limit=PAGE):
            last = page[-1].job.job_id
            found += [
                row
                for row in page
                if row.job.volume_id in volume_ids
                and row.job.job_id not in but
                and self._kind.is_needed_by(row.job)
                and self._may_start(row)
            ]
        return found

    def put_off(self, group: Group) -> None:
        """Read the group again when its changing resources may have changed."""
        loop_now = asyncio.get_running_loop().time()
        self._later.update({row.job.job_id: loop_now + LOOK_AGAIN_S for row in group.jobs})

    async def _needing(self, rows: Sequence[JobWithResources]) -> list[JobWithResources]:
        """Those of these that need resources of this kind; those that need none are sent as they are."""
        needing = [row for row in rows if self._kind.is_needed_by(row.job)]
        if len(needing) == len(rows):
            return needing
        needless = [
            row.job for row in rows if not self._kind.is_needed_by(row.job) and not self._is_anothers(row.job)
        ]
        if needless:
            await self._book.detach(needless)
            self._ledger.let_start([])
        return needing

    async def _connected(self, rows: Sequence[JobWithResources]) -> list[JobWithResources]:
        """These jobs with all that share resources with them, directly or through others."""
        group = {row.job.job_id: row for row in rows}
        known: set[str] = set()
        while new := {resource_id for row in group.values() for resource_id in row.needs} - known:
            known |= new
            group.update((row.job.job_id, row) for row in await self._book.jobs_of(new))
        return sorted(group.values(), key=lambda row: row.job.job_id)

    def _note_unread(
        self, row: JobWithResources, rows: Sequence[JobWithResources], error: CloudError
    ) -> None:
        """What this job needs cannot be read: leave its group for later, and fail it in the end."""
        loop_now = asyncio.get_running_loop().time()
        if is_signed_out(error):
            raise error
        since = self._unread_since.setdefault(row.job.job_id, loop_now)
        self._later.update({each.job.job_id: loop_now + LOOK_AGAIN_S for each in rows})
        extra = log_fields("volume_unreadable", row.job)
        log.info("volume %s: cannot read it (%s)", row.job.volume_id, error, extra=extra)
        if loop_now - since >= (REFUSED_MAX_S if isinstance(error, RefusedError) else AWAY_MAX_S):
            self._ledger.reject(row.job, JobState.FAILED, not_sent("its volume cannot be read", error))


def not_sent(why: str, error: CloudError) -> Ending:
    """How a job fails that was not sent, for a reason that the cloud gives."""
    return Ending(
        reason=f"not sent: {why}: {error}",
        code=error.code or "server_refused",
        status=error.status,
        request_id=error.request_id,
    )
