"""Takes resources from one state to the next; the only place that acquires and releases them.

Each step is on disk first, then comes the request.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from batchexport.engine.ledger import Ledger
from batchexport.engine.resources import lifecycle
from batchexport.engine.resources.book import ResourceBook
from batchexport.engine.resources.groups import Group
from batchexport.engine.resources.kind import ResourceKind
from batchexport.engine.resources.lifecycle import (
    NOT_LOOKED,
    UNKNOWN,
    Action,
    Condition,
    ObservationLog,
    Seen,
)
from batchexport.engine.resources.requests import Requests
from batchexport.log_level import NOTICE
from batchexport.model import Ending, JobState, ResourceState
from batchexport.store import JobWithResources, Resource

log = logging.getLogger(__name__)


class Keeper:
    """Acquires resources and releases them, and lets jobs start, fails or holds them as that demands."""

    def __init__(
        self,
        kind: ResourceKind,
        book: ResourceBook,
        requests: Requests,
        ledger: Ledger,
        *,
        may_start: Callable[[JobWithResources], bool],
        anyway: bool = False,
    ) -> None:
        self._kind = kind
        self._book = book
        self._requests = requests
        self._ledger = ledger
        self._may_start = may_start
        self._anyway = anyway  # release under exports in progress, too
        self._observations = ObservationLog()
        self._dependants: set[str] = set()  # ids of resources of which others that are outstanding are made
        self.stuck: set[str] = set()  #: ids of resources that could not be released, after that was logged

    def inherit(self, resource_ids: Collection[str]) -> None:
        """An earlier process left these held."""
        self._observations.inherit(resource_ids)

    async def acquire(self, group: Group, *, outstanding: Collection[str]) -> None:
        """Acquire what was selected; fail jobs that cannot start, and start those that wait for nothing."""
        selection = group.selection
        for row in group.jobs:
            if (ending := selection.failed.get(row.job.job_id)) is not None:
                self._ledger.reject(row.job, JobState.FAILED, ending)
        if selection.changing:
            return
        rows = [row for row in group.jobs if row.job.job_id not in selection.failed]
        resource_ids = {candidate.resource_id for candidate in selection.acquire}
        if selection.acquire:
            # On disk before it is requested: after a crash this means "may have been acquired by us".
            await self._book.acquiring(selection.acquire, at_s=self._ledger.now())
            for candidate in selection.acquire:
                self._observations.acquiring(candidate.resource_id, candidate.updated_at)
                extra = {"action": "resource_acquiring", self._kind.messages.id_field: candidate.resource_id}
                log.log(NOTICE, self._kind.messages.acquiring, candidate, extra=extra)
            first = [each.resource_id for each in selection.acquire if each.depends_on is None]
            await self._request(first, rows)
        not_held = resource_ids | set(outstanding)
        await self._let_start([row for row in rows if not_held.isdisjoint(row.needs)], selection.held)

    async def step(
        self,
        outstanding: Sequence[Resource],
        rows: Sequence[JobWithResources],
        seen: Mapping[str, Seen],
        *,
        needed: Collection[str],
    ) -> None:
        """Take the next step with each outstanding resource.

        `rows`: the jobs that need any; `needed`: the ids of those that must be held for some.
        """
        by_action = defaultdict[Action, list[Resource]](list)
        self._dependants = {each.depends_on for each in outstanding if each.depends_on is not None}
        ready = {each.resource_id for each in outstanding if each.state is ResourceState.HELD}
        for resource in outstanding:
            action = self._next_action(resource, seen, needed, is_ready=resource.depends_on in {None, *ready})
            by_action[action].append(resource)
        for action, resources in by_action.items():
            await self._do(action, resources, rows, seen)
        staying = [
            each
            for each in by_action[Action.WAIT]
            if each.state is ResourceState.HELD
            and seen.get(each.resource_id, UNKNOWN).condition is not Condition.FREE
        ]
        held = {resource.resource_id for resource in (*staying, *by_action[Action.NOTE_HELD])}
        ours = {resource.resource_id for resource in outstanding}
        others = {each for each, found in seen.items() if found.condition is Condition.HELD} - ours
        self._note_subjects(rows, outstanding)
        await self._let_start(rows, held | others)

    def _note_subjects(self, rows: Sequence[JobWithResources], outstanding: Sequence[Resource]) -> None:
        for row in rows:
            if (subject := self._kind.subject_of(row, outstanding)) is not None:
                self._ledger.subjects[row.job.job_id] = subject

    def _next_action(
        self, resource: Resource, seen: Mapping[str, Seen], needed: Collection[str], *, is_ready: bool
    ) -> Action:
        if seen.get(resource.resource_id) is NOT_LOOKED:
            return Action.WAIT
        observation = self._observations.observe(
            resource.resource_id,
            resource.state,
            seen.get(resource.resource_id, UNKNOWN),
            is_needed=resource.resource_id in needed,
            may_ask=self._requests.may_ask(resource.resource_id)
            and (is_ready or resource.state is not ResourceState.ACQUIRING),
            loop_now=asyncio.get_running_loop().time(),
        )
        return lifecycle.next_action(resource.state, observation, self._kind.limits(resource))

    async def _do(
        self,
        action: Action,
        resources: Sequence[Resource],
        rows: Sequence[JobWithResources],
        seen: Mapping[str, Seen],
    ) -> None:
        resource_ids = [resource.resource_id for resource in resources]
        messages = self._kind.messages
        match action:
            case Action.ACQUIRE:
                await self._request(resource_ids, rows)
            case Action.NOTE_HELD:
                await self._book.held(resource_ids, at_s=self._ledger.now())
                self._log_each(messages.held, resources, "resource_held", level=NOTICE)
            case Action.GIVE_UP:
                statuses = self._observations.status
                final = [
                    each
                    for each in resources
                    if not await self._kind.try_anew(each, statuses(each.resource_id))
                ]
                self._fail_jobs_of(final, rows, self._why_not_acquired)
                await self._release(resource_ids, rows, seen)
            case Action.RELEASE:
                await self._release(resource_ids, rows, seen)
            case Action.RELEASE_AGAIN:
                await self._requests.release(await self._releasable(resource_ids))
            case Action.NOTE_RELEASED | Action.NOTE_LOST:
                await self._note_released(action, resources, rows)
            case Action.NOTE_TAKEN_BACK:
                self._log_each(messages.taken_back, resources, "resource_taken_back")
                await self._note_released(action, resources, rows)
                held = await self._book.jobs_of(resource_ids)
                self._fail_jobs_of(resources, held, self._kind.why_taken_back)
            case Action.STUCK:
                await self._insist(resources)
            case Action.WAIT:
                pass

    async def _request(self, resource_ids: Collection[str], rows: Sequence[JobWithResources]) -> None:
        refused = await self._requests.acquire(resource_ids)
        if self._kind.is_created:
            for resource_id in resource_ids:
                self._observations.requested(resource_id)
        for row in rows:
            errors = [refused[each] for each in row.needs if each in refused]
            if errors and row.held:
                self._ledger.reject(row.job, JobState.FAILED, self._kind.why_refused(errors[0]))

    async def _release(
        self, resource_ids: Collection[str], rows: Sequence[JobWithResources], seen: Mapping[str, Seen]
    ) -> None:
        """Release those of these of which nothing is being exported; the others once that has ended."""
        releasing = await self._book.releasing(await self._releasable(resource_ids), anyway=self._anyway)
        self._recall(rows, releasing)
        if self._anyway:
            self._disturb(rows, releasing)
        # One that is unknown is released all the same: to release it twice does nothing.
        conditions = (Condition.HELD, Condition.UNKNOWN)
        looks = {each: seen.get(each, UNKNOWN) for each in releasing}
        await self._requests.release(
            [each for each, look in looks.items() if look.condition in conditions and not look.is_busy]
        )

    async def _releasable(self, resource_ids: Collection[str]) -> list[str]:
        """Those of these that may be released: nothing that is outstanding is made of them."""
        free = [each for each in resource_ids if each not in self._dependants]
        return free if self._anyway else await self._kind.releasable(free)

    def _disturb(self, rows: Sequence[JobWithResources], resource_ids: Collection[str]) -> None:
        """These are released although volumes are being exported that need them."""
        for row in rows:
            if row.state is not JobState.PENDING:
                for resource_id in set(row.needs) & set(resource_ids):
                    self._ledger.disturbed.setdefault(row.job.job_id, resource_id)

    async def _note_released(
        self, action: Action, resources: Sequence[Resource], rows: Sequence[JobWithResources]
    ) -> None:
        is_lost = action is Action.NOTE_LOST
        resource_ids = [resource.resource_id for resource in resources]
        await self._book.released(resource_ids, at_s=self._ledger.now(), is_lost=is_lost)
        self._recall(rows, resource_ids)
        self.stuck.difference_update(resource_ids)
        for resource_id in resource_ids:
            self._requests.done(resource_id)
            self._observations.forget(resource_id)
            self._kind.forget(resource_id)
        if is_lost:
            self._log_each(self._kind.messages.lost, resources, "resource_lost")
        else:
            self._log_each(self._kind.messages.released, resources, "resource_released", level=NOTICE)

    async def _insist(self, resources: Sequence[Resource]) -> None:
        """Keep requesting the release of these, and log once that it has failed for long.

        Before it is logged each is requested once more, however long the cloud asked to wait.
        """
        due = [
            resource.resource_id
            for resource in resources
            if self._requests.may_ask(resource.resource_id) or resource.resource_id not in self.stuck
        ]
        await self._requests.release(await self._releasable(due))
        for resource in resources:
            if resource.resource_id in self.stuck:
                continue
            self.stuck.add(resource.resource_id)
            status = self._observations.status(resource.resource_id)
            answer = self._requests.answers.get(resource.resource_id, f"it is {status}")
            messages = self._kind.messages
            await self._book.note(resource.resource_id, messages.stuck_note % answer)
            extra = {"action": "resource_stuck", messages.id_field: resource.resource_id}
            log.error(messages.stuck, resource, answer, extra=extra)

    async def _let_start(self, rows: Sequence[JobWithResources], held: Collection[str]) -> None:
        """Let those jobs start for which everything is held."""
        waiting = [row for row in rows if row.held and row.needs and self._may_start(row)]
        starting = [row.job for row in waiting if set(row.needs) <= set(held)]
        if starting:
            await self._book.let_start(starting, at_s=self._ledger.now())
            self._ledger.let_start((job.job_id for job in starting), confirm=self._kind.confirms)

    def _recall(self, rows: Sequence[JobWithResources], resource_ids: Collection[str]) -> None:
        """These are no longer held: their jobs may not be sent as if they were."""
        self._ledger.resources_held.difference_update(
            row.job.job_id for row in rows if not set(resource_ids).isdisjoint(row.needs)
        )

    def _fail_jobs_of(
        self,
        resources: Sequence[Resource],
        rows: Sequence[JobWithResources],
        why: Callable[[Resource], Ending],
    ) -> None:
        """Fail the jobs that wait for any of these."""
        by_id = {resource.resource_id: resource for resource in resources}
        for row in rows:
            theirs = [by_id[each] for each in row.needs if each in by_id]
            if theirs and row.held:
                self._ledger.reject(row.job, JobState.FAILED, why(theirs[0]))

    def _why_not_acquired(self, resource: Resource) -> Ending:
        status = self._observations.status(resource.resource_id)
        return self._kind.why_not_acquired(resource, status, self._requests.answers.get(resource.resource_id))

    def _log_each(
        self, message: str, resources: Sequence[Resource], action: str, *, level: int = logging.WARNING
    ) -> None:
        for resource in resources:
            extra = {"action": action, self._kind.messages.id_field: resource.resource_id}
            log.log(level, message, resource, extra=extra)
