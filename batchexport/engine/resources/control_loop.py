"""The control loop of a target's resources: acquires them for the jobs that wait, and releases every one.

Every step is in the store before it is taken, so that whoever comes next knows what to release.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property

from batchexport.config import Settings
from batchexport.engine.ledger import Ledger
from batchexport.engine.resources.groups import Groups
from batchexport.engine.resources.keeper import Keeper
from batchexport.engine.resources.kind import ResourceKind
from batchexport.engine.resources.requests import Requests
from batchexport.errors import AuthenticationError, CloudError
from batchexport.model import Job, JobState, ResourceState
from batchexport.store import JobWithResources, Resource, Work

log = logging.getLogger(__name__)

#: How often a run that waits for releases logs for what.
LOG_EVERY_S = 600.0
#: How long a release mostly takes.
RELEASE_S = 60.0
#: The target stops when its sign-in was refused this often within so many seconds; one may be a slip.
SIGN_INS_REFUSED, WITHIN_S = 3, 600.0
#: How long releases are requested after the service began to refuse every sign-in.
SIGN_IN_PATIENCE_S = 300.0


class ControlLoop:
    """Acquires the resources of one kind for the jobs of a target that wait, and releases every one."""

    def __init__(
        self,
        kind: ResourceKind,
        work: Work,
        ledger: Ledger,
        settings: Settings,
        *,
        max_gib_at: Callable[[float], int | None] | None = None,
        max_exports: Callable[[], int] | None = None,
        anyway: bool = False,
        is_anothers: Callable[[Job], bool] = lambda _: False,
    ) -> None:
        """`max_gib_at` and `anyway` are those of `run`; `is_anothers`: a job needs another kind."""
        self._kind = kind
        self._is_anothers = is_anothers
        self._held = ledger.held.listen()
        self._book = kind.book
        self._ledger = ledger
        self._settings = settings
        self._max_gib_at = max_gib_at
        self._max_exports = max_exports or (lambda: settings.limits.max_exports)
        self._anyway = anyway
        self._work = work
        self._waited_for: dict[str, Job] = {}  # by resource id: an export that is in progress, or may be
        self._left_alone: dict[str, Job] = {}  # the same, where this run does not wait for the export to end
        self._failing_since: float | None = None  # loop time since which no poll succeeded
        self._refused_at: deque[float] = deque(maxlen=SIGN_INS_REFUSED)  # loop times of refused sign-ins
        self._signed_out = False  # by the latest poll
        self._poll_exports: Callable[[], Awaitable[None]] | None = None
        self._exports_polled: set[str] = set()  # image ids
        self._is_ending = False
        self._ending = asyncio.Event()
        self._log_at: float | None = None  # loop time
        self._is_over = asyncio.Event()

    # Made when they are first needed: most runs hold nothing.

    @cached_property
    def _keeper(self) -> Keeper:
        requests = Requests(self._kind, self._work, is_stopping=self._ledger.stopping.is_set)
        return Keeper(
            self._kind,
            self._book,
            requests,
            self._ledger,
            may_start=self._may_start,
            anyway=self._anyway,
        )

    @cached_property
    def _groups(self) -> Groups:
        return Groups(
            self._kind,
            self._book,
            self._ledger,
            may_start=self._may_start,
            is_anothers=self._is_anothers,
        )

    async def resume(self) -> None:
        """Take over what an earlier process left: jobs that may start because all that they need is held."""
        outstanding = await self._book.outstanding()
        rows = await self._book.jobs_of([resource.resource_id for resource in outstanding])
        held = {each.resource_id for each in outstanding if each.state is ResourceState.HELD}
        if held:
            self._keeper.inherit(held)
        ready = [row for row in rows if not row.held and held.issuperset(row.needs)]
        in_progress = await self._book.jobs_in_progress()
        for row in (*ready, *in_progress):
            if (subject := self._kind.subject_of(row, outstanding)) is not None:
                self._ledger.subjects[row.job.job_id] = subject
        self._ledger.let_start((row.job.job_id for row in ready), confirm=self._kind.confirms)
        if self._kind.confirms:
            self._ledger.with_resources.update(row.job.job_id for row in in_progress)
            self._ledger.disturbed.update(await self._book.disturbed())

    async def run(self) -> None:
        """Poll until `finish` was called and all is released; the caller may cancel it then."""
        while True:
            self._held.clear()
            is_last = self._is_ending  # a poll that began before tells nothing of what ended since
            outstanding, is_idle = await self._poll()
            if is_last and not self._must_wait(outstanding) and not await self._poll_new_exports(outstanding):
                self._log_what_is_left(outstanding)
                self._is_over.set()
                return
            if is_idle:
                await self._held.wait()
            else:
                interval_s = self._settings.limits.poll_interval_s
                await self._pause(self._kind.poll_s if interval_s is None else interval_s)

    async def _pause(self, seconds: float) -> None:
        """Wait this long, or until an export that needed resources has ended."""
        wake = self._ledger.confirmable if self._kind.confirms else self._ending
        if wake.is_set() and not self._kind.confirms:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), seconds)

    async def poll_exports(self, poll: Callable[[], Awaitable[None]]) -> None:
        """Poll the exports once, if anything is outstanding: what has ended meanwhile is to keep none of it.

        Those that are found to have begun, of requests in doubt, are polled once as well.
        """
        self._poll_exports = poll
        if not self._ledger.exporting or not await self._book.outstanding():
            return
        self._exports_polled.update(self._ledger.exporting)
        try:
            await poll()
        except CloudError as error:
            log.warning("cannot poll the exports (%s)", error, extra={"action": "poll_failed"})

    async def _poll_new_exports(self, outstanding: Sequence[Resource]) -> bool:
        """Poll exports that no earlier poll saw, if there are any."""
        is_done = self._exports_polled.issuperset(self._ledger.exporting)
        if self._poll_exports is None or not outstanding or is_done:
            return False
        await self.poll_exports(self._poll_exports)
        return True

    async def finish(self) -> None:
        """Acquire nothing more, and return when everything of ours is released, or given up."""
        self._is_ending = True
        self._ending.set()
        self._held.set()
        await self._is_over.wait()

    async def _poll(self) -> tuple[list[Resource], bool]:
        """One poll of everything; what is outstanding then, and whether there is nothing to do."""
        is_idle = False
        try:
            is_idle = await self._step()
            self._failing_since = None
        except AuthenticationError as error:
            self._note_refused(error)
        except CloudError as error:
            self._note_failure(error)
        outstanding = await self._book.outstanding()
        return outstanding, is_idle and not outstanding

    async def _step(self) -> bool:
        """Take the next step with what is outstanding, and acquire more. True = no job needs anything."""
        in_progress = await self._book.jobs_in_progress()
        if self._kind.confirms and (in_progress or self._ledger.confirmable.is_set()):
            await self._kind.confirm(in_progress)
        outstanding = await self._book.outstanding()
        rows = await self._book.jobs_of([resource.resource_id for resource in outstanding])
        known = {row.job.job_id for row in rows}
        rows += [row for row in await self._book.jobs_in_progress() if row.job.job_id not in known]
        needed = self._needed(rows)
        self._log_what_is_waited_for(outstanding)
        if outstanding or rows:
            seen = await self._kind.poll(outstanding, rows)
            await self._keeper.step(outstanding, rows, seen, needed=needed)
        if not await self._book.held_jobs(0, limit=1):
            return not rows
        if (ending := self._kind.why_useless()) is not None:
            await self._groups.fail_all(ending)
        if not self._is_closing():
            await self._acquire_more()
            if self._groups.are_all_anothers:
                return not rows
        return not rows and not await self._book.held_jobs(0, limit=1)

    async def _acquire_more(self) -> None:
        """Acquire for one group after the other, in the order of the list, while there is room."""
        passed: set[int] = set()
        while True:
            outstanding = {resource.resource_id for resource in await self._book.outstanding()}
            rows = await self._groups.next(but=passed, outstanding=outstanding)
            if not rows or not await self._has_room(rows, outstanding):
                return
            group = await self._groups.read(rows, outstanding=outstanding)
            passed.update(row.job.job_id for row in (*rows, *group.jobs))
            if not await self._has_room(group.jobs, outstanding):
                return
            if group.selection.changing:
                self._groups.put_off(group)
            if not self._is_closing():
                await self._keeper.acquire(group, outstanding=outstanding)

    async def _has_room(self, rows: Sequence[JobWithResources], outstanding: set[str]) -> bool:
        busy = {row.job.job_id for row in await self._book.jobs_of(outstanding)}
        new = [row for row in rows if row.job.job_id not in busy]
        max_exports = self._max_exports()
        if not has_room(len(new), outstanding=len(outstanding), busy=len(busy), max_exports=max_exports):
            return False
        return self._kind.has_room(rows, outstanding=await self._book.outstanding())

    def _may_start(self, row: JobWithResources) -> bool:
        """Whether the export of a job may begin now, as far as the run is concerned."""
        is_needed = self._kind.is_needed_by(row.job)
        if self._is_closing() or self._kind.why_useless() is not None or not is_needed:
            return False
        max_gib = self._max_gib_at(self._ledger.now()) if self._max_gib_at else None
        copied_gib = (row.job.size_gib or 0) * self._kind.gib_factor
        return max_gib is None or (max_gib > 0 and copied_gib <= max_gib)

    def _needed(self, rows: Sequence[JobWithResources]) -> set[str]:
        """The ids of resources that must be held; remembers, too, which exports need them."""
        in_progress = [] if self._anyway else [row for row in rows if row.state is not JobState.PENDING]
        left_alone = in_progress
        if self._settings.wait and not self._ledger.polling_unavailable:
            left_alone = []
        elif not self._ledger.polling_unavailable:
            left_alone = [row for row in in_progress if row.state is JobState.EXPORTING]
        self._left_alone = _longest(left_alone)
        self._waited_for = _longest(in_progress)
        starting = [row for row in rows if row.state is JobState.PENDING and self._may_start(row)]
        return {resource_id for row in (*in_progress, *starting) for resource_id in row.needs}

    def _is_closing(self) -> bool:
        return self._is_ending or self._ledger.stopping.is_set()

    def _must_wait(self, outstanding: Sequence[Resource]) -> bool:
        """Whether one of these is still to be released in this run, or a job to be ended."""
        if self._is_hopeless():
            return False
        if not outstanding:
            return bool(self._to_confirm)
        kept = self._keeper.stuck | self._left_alone.keys()
        if not self._settings.wait:
            kept |= self._kind.busy.keys()
        kept |= {each.depends_on for each in outstanding if each.resource_id in kept and each.depends_on}
        left = {resource.resource_id for resource in outstanding} - kept
        return bool(left or self._to_confirm)

    @property
    def _to_confirm(self) -> bool:
        return self._kind.confirms and bool(self._ledger.to_confirm)

    def _is_hopeless(self) -> bool:
        if self._failing_since is None:
            return False
        patience_s = SIGN_IN_PATIENCE_S if self._signed_out else self._kind.stuck_s
        return asyncio.get_running_loop().time() - self._failing_since >= patience_s

    def _note_failure(self, error: CloudError) -> None:
        self._signed_out = isinstance(error, AuthenticationError)
        if self._failing_since is None:
            self._failing_since = asyncio.get_running_loop().time()
            log.warning(self._kind.messages.unseen, error, extra={"action": "poll_failed"})

    def _note_refused(self, error: AuthenticationError) -> None:
        """One refused sign-in may be a slip of the cloud; several end the run, after the releases."""
        self._note_failure(error)
        loop_now = asyncio.get_running_loop().time()
        self._refused_at.append(loop_now)
        if len(self._refused_at) == SIGN_INS_REFUSED and loop_now - self._refused_at[0] <= WITHIN_S:
            self._ledger.stop(error)

    def _log_what_is_waited_for(self, outstanding: Sequence[Resource]) -> None:
        if not outstanding or not self._ledger.stopping.is_set():
            return
        loop_now = asyncio.get_running_loop().time()
        if self._log_at is None:  # what only releases, which takes seconds, says nothing at first
            self._log_at = loop_now + (0.0 if self._settings.wait else RELEASE_S)
        if loop_now < self._log_at:
            return
        self._log_at = loop_now + LOG_EVERY_S
        why = "; ".join(map(self._why_kept, outstanding))
        extra = {"action": "releasing", "count": len(outstanding)}
        log.warning(self._kind.messages.releasing, why, extra=extra)
        log.warning("%s", self._kind.messages.leave_hint, extra=extra)

    def _log_what_is_left(self, outstanding: Sequence[Resource]) -> None:
        if not outstanding:
            return
        why = "; ".join(map(self._why_kept, outstanding))
        is_exported = any(resource.resource_id in self._waited_for for resource in outstanding)
        extra = {"action": "resources_left", "count": len(outstanding)}
        messages = self._kind.messages
        log.error(messages.left, why, extra=extra)
        log.error("%s", messages.left_exported_hint if is_exported else messages.left_hint, extra=extra)

    def _why_kept(self, resource: Resource) -> str:
        """The resource, and what keeps it."""
        named = self._kind.messages.name % resource
        if (job := self._waited_for.get(resource.resource_id)) is not None:
            until = "" if job.deadline_at is None else f", expected to end by {_utc(job.deadline_at)}"
            return f"{named}: volume {job.volume_id} is being exported{until}"
        if (why := self._kind.busy.get(resource.resource_id)) is not None:
            return f"{named}: {why}"
        return f"{named} is {self._kind.messages.states[resource.state]}"


def has_room(jobs: int, *, outstanding: int, busy: int, max_exports: int) -> bool:
    """Whether resources may be acquired for this many more jobs, beside `busy` ones that have some.

    No more jobs than can be exported at once: their resources would be held in vain. A group that is larger
    than the limit starts when nothing else is outstanding.
    """
    return not outstanding or busy + jobs <= max_exports


def _longest(rows: Sequence[JobWithResources]) -> dict[str, Job]:
    """By resource id, the export that is expected to take longest."""
    by_deadline = sorted(rows, key=lambda row: row.job.deadline_at or 0.0)
    return {resource_id: row.job for row in by_deadline for resource_id in row.needs}


def _utc(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M} UTC"
