"""One target of a state file under its live lease: what the engine reads of it, and every change it makes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from batchexport.changes import RETRYABLE_STATES, Change, Fact, Snoozed
from batchexport.errors import StateError
from batchexport.identity import CloudIdentity
from batchexport.model import ExportOrder, Job, JobState
from batchexport.store.port import UNCHECKED_PAGE, Work
from batchexport.store.records import (
    Forbiddings,
    NeverAttempted,
    OpenRow,
    PendingJobs,
    RunRecord,
    Skipped,
    StoreRef,
    TargetRecord,
)
from batchexport.store.sqlite import claims, queries, targets
from batchexport.store.sqlite.facts import make_all, note
from batchexport.store.sqlite.lease import Lease
from batchexport.store.sqlite.schema import UNIQUE_INDEXES
from batchexport.store.sqlite.targets import target_records
from batchexport.store.sqlite.work_parts import SqliteImages, SqliteResources
from batchexport.store.sqlite.writer import TargetWriter, Writer, undone_if_cancelled

if TYPE_CHECKING:
    from batchexport.store.sqlite.state import StateFile


T = TypeVar("T")


class SqliteWork(Work):
    """Work in a SQLite file, through its writer."""

    _resource_records: type[SqliteResources] = SqliteResources

    def __init__(self, state: StateFile, writer: Writer, lease: Lease, *, now: Callable[[], float]) -> None:
        self.target_id = lease.target_id
        self._state = state
        self._writer = TargetWriter(writer, lease)
        self._lease = lease
        self._now = now
        self._images = SqliteImages(self._writer)
        self._resources = self._resource_records(state.path, self._writer, lease)

    @property
    def path(self) -> Path:
        return self._state.path

    @property
    def run(self) -> RunRecord:
        return self._state.run

    @property
    def images(self) -> SqliteImages:
        return self._images

    @property
    def resources(self) -> SqliteResources:
        return self._resources

    @property
    def fresh(self) -> bool:
        return self._lease.fresh

    @property
    def epoch(self) -> int:
        return self._lease.epoch

    def check_owned(self) -> None:
        self._lease.check_owned()

    async def renew(self) -> None:
        await self._state.renew(self._lease)

    async def release(self) -> None:
        await self._state.release(self._lease)

    async def flush(self) -> None:
        await self._state.flush()

    def check_in_place(self) -> None:
        self._state.check_in_place()

    async def retry(self, states: frozenset[JobState] = frozenset({JobState.FAILED})) -> int:
        if not states <= RETRYABLE_STATES:
            wrong = ", ".join(sorted(states - RETRYABLE_STATES))
            raise StateError(f"jobs that are {wrong} cannot be tried again")
        return await self._writer.ask(claims.retry, states=sorted(states))

    async def bind(self, found: CloudIdentity, *, rebind: bool = False) -> None:
        await self._writer.ask(targets.bind, found=found, at=self._now(), rebind=rebind)

    async def skip_duplicates(self, others: Sequence[StoreRef] = ()) -> Skipped:
        known_twice = await self._writer.ask(targets.skip_known_twice, at=self._now())
        exported: dict[StoreRef, int] = {}
        if others and (await self.pending()).jobs:
            mine = await self._writer.ask(_record_of)
            files = [other for other in others if isinstance(other, Path)]
            for rows in targets.exported_elsewhere(self.path, self.target_id, mine, files):
                if rows and (
                    count := await self._writer.ask(targets.skip_exported, rows=rows, at=self._now())
                ):
                    exported[rows[0].path] = exported.get(rows[0].path, 0) + count
        return Skipped(known_twice=known_twice, exported=exported)

    async def claim(
        self,
        limit: int,
        *,
        now_s: float,
        server_now_s: float,
        max_gib: int | None = None,
        order: ExportOrder = ExportOrder.PRIORITY,
    ) -> list[Job]:
        self._writer.check()
        claiming = self._writer.ask(
            claims.claim, limit=limit, now=now_s, server_now=server_now_s, max_gib=max_gib, order=order
        )

        def give_back(done: object) -> None:
            if claiming.exception() is None:
                for job in claiming.result():
                    self.apply(Snoozed(job=job, next_at=0.0))

        return await undone_if_cancelled(claiming, give_back)

    def apply(self, *changes: Change) -> None:
        for change in changes:
            if isinstance(change, Fact):
                self._writer.submit(note, fact=change)
            else:
                self._writer.apply(change)

    async def commit(self, *changes: Change) -> None:
        await self._writer.ask(make_all, together=changes)

    async def jobs_in(self, state: JobState) -> list[Job]:
        if state is JobState.AMBIGUOUS:
            return await self._writer.ask(queries.ambiguous)
        return await self._writer.ask(queries.under_way, state=state)

    async def next_due_s(self, *, max_gib: int | None = None) -> float | None:
        return await self._writer.ask(queries.next_due_s, max_gib=max_gib)

    async def forbidden(self) -> Forbiddings:
        return await self._writer.ask(queries.forbidden)

    async def pending(self) -> PendingJobs:
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
    ) -> list[NeverAttempted]:
        if volume_ids is not None:
            return await self._writer.ask(queries.unchecked_of_volumes, volume_ids=volume_ids)
        if image_names is not None:
            return await self._writer.ask(queries.untried_of_names, image_names=image_names)
        return await self._writer.ask(queries.unchecked_after, job_id=after, limit=limit)

    async def open_jobs(
        self,
        *,
        volume_ids: Sequence[str] = (),
        stalled_at: float | None = None,
        pending_after: int | None = None,
    ) -> list[OpenRow]:
        if pending_after is not None:
            return await self._writer.ask(queries.pending_rows, after=pending_after)
        if stalled_at is not None:
            return await self._writer.ask(queries.stalled_rows, now=stalled_at)
        return await self._writer.ask(queries.open_rows_of_volumes, volume_ids=volume_ids)

    async def ask(self, operation: Callable[..., T], **values: object) -> T:
        """The result of a statement on the target's own tables, once it is durable."""
        return await self._writer.ask(operation, **values)


def _record_of(db: sqlite3.Connection, target_id: int) -> TargetRecord:
    """The target as it is now, for one that is about to be compared by its volumes."""
    db.execute(UNIQUE_INDEXES["volume_id"])
    return next(each for each in target_records(db) if each.target_id == target_id)
