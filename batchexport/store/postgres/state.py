"""A run in a database for the process that works on it: the store of a state file on another connection."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from batchexport.clock import boottime_s
from batchexport.identity import CloudIdentity
from batchexport.store.owner import this_process
from batchexport.store.postgres import lease, other_runs, projects
from batchexport.store.postgres.address import driver
from batchexport.store.postgres.connection import RunConnection
from batchexport.store.postgres.postgres_errors import translated
from batchexport.store.postgres.reference import DatabasePath
from batchexport.store.postgres.transactions import PostgresTransactions
from batchexport.store.records import Elsewhere, Skipped, StoreRef
from batchexport.store.sqlite import queries, targets
from batchexport.store.sqlite.locks import NoLocks
from batchexport.store.sqlite.state import StateFile
from batchexport.store.sqlite.targets import target_records
from batchexport.store.sqlite.work import SqliteWork
from batchexport.store.sqlite.work_parts import SqliteResources
from batchexport.store.sqlite.writer import Writer


class PostgresResources(SqliteResources):
    """The resources of a target in a database."""

    async def held_elsewhere(self) -> dict[str, Elsewhere]:
        return await self._writer.run(partial(other_runs.down_elsewhere, path=cast(DatabasePath, self._path)))


class PostgresWork(SqliteWork):
    """Work on a target in a database."""

    _resource_records = PostgresResources

    async def bind(self, found: CloudIdentity, *, rebind: bool = False) -> None:
        await super().bind(found, rebind=rebind)
        await self._writer.ask(projects.take, found=found)

    async def skip_duplicates(self, others: Sequence[StoreRef] = ()) -> Skipped:
        known_twice = await self._writer.ask(targets.skip_known_twice, at=self._now())
        exported: dict[StoreRef, int] = {}
        if others and (await self.pending()).jobs:
            paths = [other for other in others if isinstance(other, Path)]
            found = partial(other_runs.exported_elsewhere, path=self.path, others=paths)
            for rows in await self._writer.ask(found):
                count = await self._writer.ask(targets.skip_exported, rows=rows, at=self._now())
                if count:
                    exported[rows[0].path] = exported.get(rows[0].path, 0) + count
        return Skipped(known_twice=known_twice, exported=exported)


class PostgresStore(StateFile):
    """An open run in a database."""

    _work = PostgresWork

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        write_grace_s: float = 60.0,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = boottime_s,
    ) -> PostgresStore:
        """The run at `path`, which is there. As of `StateFile.open`; times of leases are the database's own.

        Raises StateError where it cannot be reached or used.
        """
        place = cast(DatabasePath, path)
        connection = RunConnection(place, for_work=True)
        db = cast(sqlite3.Connection, connection)
        try:
            run, known = queries.run_record(db), target_records(db)
            transactions = PostgresTransactions(connection)
        except driver().Error as error:
            connection.close()
            raise translated(error, place, "read it") from error
        writer = Writer(transactions, path, write_grace_s=write_grace_s)
        return cls(writer, path, run, known, locks=NoLocks(), now=now, clock=clock)

    def _taken(self, target_id: int, ttl_s: float, is_work: bool) -> Callable[[sqlite3.Connection], int]:
        me = this_process(now=self._now())
        return partial(lease.take, target_id=target_id, me=me, ttl_s=ttl_s, is_work=is_work)

    def _renewed(self, target_id: int, ttl_s: float) -> Callable[[sqlite3.Connection], None]:
        return partial(lease.renew, target_id=target_id, ttl_s=ttl_s)

    def _released(self, target_id: int) -> Callable[[sqlite3.Connection], None]:
        return partial(lease.release, target_id=target_id)
