"""The state file for the one process that works: opened, its targets taken, and closed."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from batchexport.clock import boottime_s
from batchexport.errors import BatchExportError, StateError
from batchexport.model import InUse
from batchexport.store.owner import this_process
from batchexport.store.port import LEASE_S, Store
from batchexport.store.postgres.reference import DatabasePath
from batchexport.store.records import Remaining, RunRecord, TargetRecord
from batchexport.store.sqlite import lease, queries, resources
from batchexport.store.sqlite.connection import open_for_work, sweep
from batchexport.store.sqlite.lease import Lease
from batchexport.store.sqlite.locks import Held, Locks, NoLocks
from batchexport.store.sqlite.sqlite_errors import reading
from batchexport.store.sqlite.targets import target_records
from batchexport.store.sqlite.transactions import SqliteTransactions
from batchexport.store.sqlite.work import SqliteWork
from batchexport.store.sqlite.writer import Writer, undone_if_cancelled


class StateFile(Store):
    """An open state file. `take` gives its targets to work on; what is awaited is durable when it returns."""

    _work = SqliteWork

    def __init__(
        self,
        writer: Writer,
        path: Path,
        run: RunRecord,
        targets: list[TargetRecord],
        *,
        locks: Locks | NoLocks,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self.path = path
        self.run = run
        self._writer = writer
        self.targets = targets
        self._now = now
        self._clock = clock
        self._locks = locks
        self._leases = 0

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        write_grace_s: float = 60.0,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = boottime_s,
    ) -> StateFile:
        """The state file at `path`, brought up to date where it is of an older format.

        While the disk takes nothing, changes are kept in memory and tried again for `write_grace_s`.
        `clock` counts the seconds of leases; it must go on while the machine is suspended. Raises
        StateCorruptError and leaves the file alone where it is no whole state file.
        """
        if isinstance(path, DatabasePath):
            from batchexport.store.postgres.state import PostgresStore

            return PostgresStore.open(path, write_grace_s=write_grace_s, now=now, clock=clock)
        sweep(path)
        db = open_for_work(path)
        with reading(path):
            run, targets = queries.run_record(db), target_records(db)
        writer = Writer(SqliteTransactions(db, path), path, write_grace_s=write_grace_s)
        return cls(writer, path, run, targets, locks=Locks(path), now=now, clock=clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except BatchExportError:
            if error is None:
                raise  # otherwise what ended the work says more

    async def close(self) -> None:
        try:
            await self._writer.drain()
            while self.backlog:  # what a cancelled claim gave back meanwhile
                await self._writer.drain()
            self._writer.check(again=False)
        finally:
            lost = None if self._locks.in_place() else self._locks.free_name()
            await asyncio.to_thread(self._writer.close, copy_to=lost)
            self._locks.close()

    @property
    def backlog(self) -> int:
        return self._writer.backlog

    async def flush(self) -> None:
        await self._writer.drain()
        self._writer.check()

    async def take(self, target_id: int, *, ttl_s: float = LEASE_S, is_work: bool = True) -> SqliteWork:
        asked_at_s = self._clock()
        taking = self._writer.ask(self._taken(target_id, ttl_s, is_work), checkpoint=True)

        def give_back(done: asyncio.Future[int]) -> None:
            if done.exception() is None:
                self._writer.submit(self._released(target_id), _lease(done.result()))

        def _lease(epoch: int) -> Lease:
            return Lease(
                target_id=target_id, epoch=epoch, ttl_s=ttl_s, asked_at_s=asked_at_s, clock=self._clock
            )

        self._leases += 1
        try:
            epoch = await undone_if_cancelled(taking, give_back)
        except BaseException:
            self._left()
            raise
        return self._work(self, self._writer, _lease(epoch), now=self._now)

    async def renew(self, held: Lease) -> None:
        """Keep the target for another `ttl_s`. Raises LeaseLostError if another process has it."""
        held.check_owned()
        asked_at_s = self._clock()
        await self._writer.ask(self._renewed(held.target_id, held.ttl_s), held)
        held.extend(asked_at_s)

    def check_in_place(self) -> None:
        if not self._locks.in_place():
            raise StateError(
                f"{self.path} was removed or replaced while it was worked on: nothing more is sent",
                hint="its contents are saved when the run ends: in its place, or beside it as .lost.state",
            )

    async def release(self, held: Lease) -> None:
        """Leave the target, after everything that was changed before, to whoever comes next."""
        held.check_owned()
        try:
            await self._writer.ask(self._released(held.target_id), held)
        finally:
            self._left()
        held.lose("it was released")

    async def remaining(self) -> Remaining:
        return Remaining(
            jobs=await self._writer.ask(queries.counts),
            resources=await self._writer.ask(resources.count_outstanding),
        )

    async def agree(self, in_use: InUse) -> None:
        await self._writer.ask(partial(resources.agree, in_use=in_use))

    def _taken(self, target_id: int, ttl_s: float, is_work: bool) -> Callable[[sqlite3.Connection], int]:
        """The operation that takes a target for this process; what it returns is the epoch."""
        now = self._now()
        held = self._locks.acquire()
        me = replace(this_process(now=now), locks_file=held is Held.ALONE, file=self._locks.inode)
        return partial(
            lease.take, target_id=target_id, me=me, now=now, ttl_s=ttl_s, held=held, is_work=is_work
        )

    def _renewed(self, target_id: int, ttl_s: float) -> Callable[[sqlite3.Connection], None]:
        return partial(lease.renew, target_id=target_id, now=self._now(), ttl_s=ttl_s)

    def _released(self, target_id: int) -> Callable[[sqlite3.Connection], None]:
        return partial(lease.release, target_id=target_id, now=self._now())

    def _left(self) -> None:
        """One target fewer is ours; with the last, the file is free for everybody."""
        self._leases -= 1
        if not self._leases:
            self._locks.release()
