"""One target of a state file under its live lease: what the engine reads of it, and every change it makes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from batchexport.changes import RETRYABLE_STATES, Change, Fact, Snoozed
from batchexport.errors import StateError
from batchexport.identity import CloudIdentity
from batchexport.model import Job, JobState
from batchexport.store.records import AfootServer, Forbiddings, LinkedRow, RunRecord, TargetRecord, Unsent
from batchexport.store.sqlite import changes, images, queries, servers, targets
from batchexport.store.sqlite.facts import make_all, note
from batchexport.store.sqlite.files import Elsewhere, LeftDown, down_elsewhere, left_down
from batchexport.store.sqlite.images import KnownImages, Listing
from batchexport.store.sqlite.lease import Lease
from batchexport.store.sqlite.queries import OpenRow
from batchexport.store.sqlite.schema import UNIQUE_INDEXES
from batchexport.store.sqlite.targets import target_records
from batchexport.store.sqlite.writer import TargetWriter, Writer, undone_if_cancelled

if TYPE_CHECKING:
    from batchexport.store.sqlite.state import StateFile

#: Jobs that `unchecked` tells of at once.
UNCHECKED_PAGE = 1000


class PendingJobs(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs are pending."""

    jobs: int
    unchecked: int  #: of these, those whose volume is of unknown size: it was not looked at


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs were skipped because their volumes go, or went, elsewhere."""

    known_twice: int  #: another target of the same project has them
    exported: Mapping[Path, int]  #: by the state file that shows them as exported


class Work:
    """One target, for this process alone. What is awaited is durable when it returns, the rest with `flush`.

    Changes are kept in order. Those that nobody awaits raise LeaseLostError or StateWriteError only once it
    is known; a change that is not allowed is left out, and raised as StateError by `flush` and `claim`.
    """

    def __init__(self, state: StateFile, writer: Writer, lease: Lease, *, now: Callable[[], float]) -> None:
        self.target_id = lease.target_id
        self._state = state
        self._writer = TargetWriter(writer, lease)
        self._lease = lease
        self._now = now

    @property
    def path(self) -> Path:
        """Where the state file is."""
        return self._state.path

    @property
    def run(self) -> RunRecord:
        """The run that the state file belongs to."""
        return self._state.run

    @property
    def fresh(self) -> bool:
        """Whether nobody else can have taken the target yet. Not fresh is not lost: renewing tells which."""
        return self._lease.fresh

    @property
    def epoch(self) -> int:
        """How often the target was taken, this time included."""
        return self._lease.epoch

    def check_owned(self) -> None:
        """Raise LeaseLostError where the target is known to be another's, or was released."""
        self._lease.check_owned()

    async def renew(self) -> None:
        """Keep the target for another time to live. Raises LeaseLostError if another process has it."""
        await self._state.renew(self._lease)

    async def release(self) -> None:
        """Leave the target, after everything that was changed before, to whoever comes next."""
        await self._state.release(self._lease)

    async def flush(self) -> None:
        """Wait until every change so far is durable. Raises StateError if one of them was not allowed."""
        await self._state.flush()

    def check_in_place(self) -> None:
        """Raise StateError where the file was removed or replaced: nobody sees what we write any more."""
        self._state.check_in_place()

    async def retry(self, states: frozenset[JobState] = frozenset({JobState.FAILED})) -> int:
        """How many jobs of the target in these states are pending again, with a full allowance."""
        if not states <= RETRYABLE_STATES:
            wrong = ", ".join(sorted(states - RETRYABLE_STATES))
            raise StateError(f"jobs that are {wrong} cannot be tried again")
        return await self._writer.ask(changes.retry, states=sorted(states))

    async def bind(self, found: CloudIdentity, *, rebind: bool = False) -> None:
        """Note which cloud the target is, at its first sign-in; raises WrongCloudError at another later on.

        With `rebind` the addresses of the cloud's services may have changed, and are noted anew.
        """
        await self._writer.ask(targets.bind, found=found, at=self._now(), rebind=rebind)

    async def skip_duplicates(self, others: Sequence[Path] = ()) -> Skipped:
        """Skip pending jobs whose volume another target of the same project has, or that `others`, further
        state files, show as exported.
        """
        known_twice = await self._writer.ask(targets.skip_known_twice, at=self._now())
        exported: dict[Path, int] = {}
        if others and (await self.pending()).jobs:
            mine = await self._writer.ask(_record_of)
            for rows in targets.exported_elsewhere(self.path, self.target_id, mine, others):
                if rows and (
                    count := await self._writer.ask(targets.skip_exported, rows=rows, at=self._now())
                ):
                    exported[rows[0].path] = exported.get(rows[0].path, 0) + count
        return Skipped(known_twice=known_twice, exported=exported)

    async def claim(
        self, limit: int, *, now_s: float, server_now_s: float, max_gib: int | None = None
    ) -> list[Job]:
        """At most `limit` jobs whose intent is now on disk: those whose wait is over, then new ones.

        With `max_gib`, only jobs whose volume is not larger, as far as its size is known.
        """
        self._writer.check()
        claiming = self._writer.ask(
            changes.claim, limit=limit, now=now_s, server_now=server_now_s, max_gib=max_gib
        )

        def give_back(done: object) -> None:
            if claiming.exception() is None:
                for job in claiming.result():
                    self.apply(Snoozed(job=job, next_at=0.0))

        return await undone_if_cancelled(claiming, give_back)

    def apply(self, *changes: Change) -> None:
        """Make these changes, in their order; durable with the next `flush`.

        One whose job is not in a state that it may start from is left out, and raised as StateError by
        `flush` and `claim`.
        """
        for change in changes:
            if isinstance(change, Fact):
                self._writer.submit(note, fact=change)
            else:
                self._writer.apply(change)

    async def commit(self, *changes: Change) -> None:
        """Make these changes, all or none; durable on return. Raises StateError where one is not allowed."""
        await self._writer.ask(make_all, together=changes)

    async def claim_named(self, names: Sequence[str], *, server_now_s: float) -> list[Job]:
        """The jobs of these image names for which nothing was sent as far as is known: submitting now."""
        return await self._writer.ask(images.claim_named, names=names, server_now=server_now_s)

    async def jobs_in(self, state: JobState) -> list[Job]:
        """The jobs that are submitting (after `take`, those that a dead process may have sent), exporting or
        ambiguous.
        """
        if state is JobState.AMBIGUOUS:
            return await self._writer.ask(queries.ambiguous)
        return await self._writer.ask(queries.under_way, state=state)

    async def next_due_s(self, *, max_gib: int | None = None) -> float | None:
        """When the next pending job may go, seconds since the epoch; 0.0 = now, None = none is pending.

        `max_gib` is that of `claim`.
        """
        return await self._writer.ask(queries.next_due_s, max_gib=max_gib)

    async def forbidden(self) -> Forbiddings:
        """The pending rows whose last request the cloud forbade."""
        return await self._writer.ask(queries.forbidden)

    async def pending(self) -> PendingJobs:
        """How many jobs are pending. Fast at any size."""
        return PendingJobs(
            jobs=await self._writer.ask(queries.pending_count),
            unchecked=await self._writer.ask(queries.unchecked_count),
        )

    async def unchecked(
        self,
        *,
        volume_ids: Sequence[str] | None = None,
        image_names: Sequence[str] | None = None,
        after: int = 0,
        limit: int = UNCHECKED_PAGE,
    ) -> list[Unsent]:
        """The jobs never tried and not looked at that are for these volumes, or the first behind job `after`.

        With `image_names`, those never tried that want one of these, looked at or not.
        """
        if volume_ids is not None:
            return await self._writer.ask(queries.unchecked_of_volumes, volume_ids=volume_ids)
        if image_names is not None:
            return await self._writer.ask(queries.untried_of_names, image_names=image_names)
        return await self._writer.ask(queries.unchecked_after, job_id=after, limit=limit)

    async def open_jobs(
        self, *, volume_ids: Sequence[str] = (), stalled_at: float | None = None
    ) -> list[OpenRow]:
        """The jobs for these volumes that have not ended; or, at a time, the exports past their deadlines and
        every job whose request is in doubt.
        """
        if stalled_at is not None:
            return await self._writer.ask(queries.stalled_rows, now=stalled_at)
        return await self._writer.ask(queries.open_rows_of_volumes, volume_ids=volume_ids)

    async def images_of(self, job: Job) -> KnownImages:
        """What is known of the images of a job."""
        return await self._writer.run(partial(images.known_images, job=job))

    async def listing(self, *, run_id: str) -> Listing:
        """For which jobs all images of the project were listed."""
        return await self._writer.ask(images.listing, run_id=run_id)

    async def intend_removal(self, job_id: int, image_id: str, *, run_id: str, at_s: float) -> int:
        """Note that an image is about to be deleted; the number for `RemovalEnded`."""
        asking = partial(images.intend_removal, job_id=job_id, image_id=image_id, run_id=run_id, at_s=at_s)
        return await self._writer.run(asking)

    async def resources(self) -> list[AfootServer]:
        """The resources that are ours to release."""
        return await self._writer.ask(servers.afoot)

    async def jobs_needing(self, resource_ids: Collection[str] | None = None) -> list[LinkedRow]:
        """The jobs that have not ended and need any of these; None = all with resources that were sent."""
        if resource_ids is None:
            return await self._writer.ask(servers.under_way)
        return await self._writer.ask(servers.rows_of, server_ids=resource_ids)

    async def held_jobs(self, *, after: int, limit: int) -> list[LinkedRow]:
        """The first held jobs behind job `after`, in the order of the list."""
        return await self._writer.ask(servers.next_held, job_id=after, limit=limit)

    async def disturbed(self) -> dict[int, str]:
        """By job id, the resource that was released while the volume of the job was being exported."""
        return await self._writer.ask(servers.disturbed)

    async def volumes_needing(self, resource_ids: Collection[str]) -> frozenset[str]:
        """The volumes of all jobs that ever needed these."""
        return await self._writer.ask(servers.volumes_of, server_ids=resource_ids)

    async def start_release(self, resource_ids: Collection[str], *, anyway: bool = False) -> frozenset[str]:
        """The intent to release these: all `anyway`, else those whose jobs have no export in progress.

        Returns those. Their pending jobs are held again, in the same transaction.
        """
        return await self._writer.ask(servers.start, server_ids=resource_ids, anyway=anyway)

    async def held_elsewhere(self) -> dict[str, Elsewhere]:
        """The resources that other state files of the folder hold, by id."""
        return await self._writer.run(lambda _: down_elsewhere(self.path))

    def left_down(self) -> LeftDown | None:
        """The servers that are not up, where the file can still be read; None = the target was taken over."""
        return left_down(self.path, self._lease)


def _record_of(db: sqlite3.Connection, target_id: int) -> TargetRecord:
    """The target as it is now, for one that is about to be compared by its volumes."""
    db.execute(UNIQUE_INDEXES["volume_id"])
    return next(each for each in target_records(db) if each.target_id == target_id)
