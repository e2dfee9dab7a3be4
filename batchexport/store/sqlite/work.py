"""One target of a state file under its live lease: what the engine reads of it, and every change it makes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batchexport.changes import RETRYABLE_STATES, Change, Fact, JobChange, Snoozed
from batchexport.errors import StateError
from batchexport.identity import CloudIdentity
from batchexport.model import Job, JobState
from batchexport.store.records import Forbiddings, RunRecord, TargetRecord, Unsent
from batchexport.store.sqlite import changes, queries, targets
from batchexport.store.sqlite.changes import make_all, note
from batchexport.store.sqlite.files import LeftDown, left_down
from batchexport.store.sqlite.images import ImageBook, RemovalBook
from batchexport.store.sqlite.lease import Lease
from batchexport.store.sqlite.queries import OpenRow
from batchexport.store.sqlite.schema import UNIQUE_INDEXES
from batchexport.store.sqlite.targets import target_records
from batchexport.store.sqlite.writer import TargetWriter, Writer, undone_if_cancelled

if TYPE_CHECKING:
    from batchexport.store.sqlite.state import StateFile
from collections.abc import Collection

from batchexport.model import Server, ServerState
from batchexport.store.records import AfootServer, LinkedRow
from batchexport.store.sqlite import servers
from batchexport.store.sqlite.files import Elsewhere, down_elsewhere


class Work:
    """One target, for this process alone. What is awaited is durable when it returns, the rest with `flush`.

    Changes are kept in order. Those that nobody awaits raise LeaseLostError or StateWriteError only once it
    is known; a change that is not allowed is left out, and raised as StateError by `flush` and `claim`.
    """

    def __init__(self, state: StateFile, writer: Writer, lease: Lease, *, now: Callable[[], float]) -> None:
        self.target_id = lease.target_id
        self._state = state
        self._writer = TargetWriter(writer, lease)
        self.removals = RemovalBook(self._writer)
        self.servers = ServerBook(self._writer, state.path)
        self.images = ImageBook(self._writer)
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

    async def skip_known_twice(self) -> int:
        """How many pending jobs were skipped, for another target of the same project has their volumes."""
        return await self._writer.ask(targets.skip_known_twice, at=self._now())

    async def skip_exported_elsewhere(self, others: Sequence[Path]) -> dict[Path, int]:
        """How many pending jobs were skipped, for these other state files show their volumes as exported."""
        mine = await self._writer.ask(_record_of)
        skipped: dict[Path, int] = {}
        for rows in targets.exported_elsewhere(self.path, self.target_id, mine, others):
            if rows and (count := await self._writer.ask(targets.skip_exported, rows=rows, at=self._now())):
                skipped[rows[0].path] = skipped.get(rows[0].path, 0) + count
        return skipped

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

    async def commit(self, *changes: JobChange) -> None:
        """Make these changes, all or none; durable on return. Raises StateError where one is not allowed."""
        await self._writer.ask(make_all, changes=changes)

    async def unsettled(self) -> list[Job]:
        """Jobs that are submitting: right after `take`, those that a dead process may have sent."""
        return await self._writer.ask(queries.under_way, state=JobState.SUBMITTING)

    async def exporting(self) -> list[Job]:
        """Jobs whose images the cloud is writing."""
        return await self._writer.ask(queries.under_way, state=JobState.EXPORTING)

    async def ambiguous(self) -> list[Job]:
        """Jobs with several images, of which a person or `reconcile` is to say which one counts."""
        return await self._writer.ask(queries.ambiguous)

    async def next_due_s(self, *, max_gib: int | None = None) -> float | None:
        """When the next pending job may go, seconds since the epoch; 0.0 = now, None = none is pending.

        `max_gib` is that of `claim`.
        """
        return await self._writer.ask(queries.next_due_s, max_gib=max_gib)

    async def forbidden(self) -> Forbiddings:
        """The pending rows whose last request the cloud forbade."""
        return await self._writer.ask(queries.forbidden)

    async def unsized(self) -> int:
        """How many pending jobs have a volume of unknown size, which nobody has looked at. Always fast."""
        return await self._writer.ask(queries.unchecked_count)

    async def pending(self) -> int:
        """How many jobs are pending. Always fast."""
        return await self._writer.ask(queries.pending_count)

    async def unsent_of(self, volume_ids: Sequence[str]) -> list[Unsent]:
        """The jobs for these volumes that were neither tried nor looked at."""
        return await self._writer.ask(queries.unchecked_of_volumes, volume_ids=volume_ids)

    async def unsent_named(self, image_names: Sequence[str]) -> list[Unsent]:
        """The jobs never tried that want one of these image names."""
        return await self._writer.ask(queries.untried_of_names, image_names=image_names)

    async def unsent_after(self, job_id: int, *, limit: int) -> list[Unsent]:
        """The first jobs behind this one that were neither tried nor looked at."""
        return await self._writer.ask(queries.unchecked_after, job_id=job_id, limit=limit)

    async def open_rows(self, volume_ids: Sequence[str]) -> list[OpenRow]:
        """The rows for these volumes that are not at their end."""
        return await self._writer.ask(queries.open_rows_of_volumes, volume_ids=volume_ids)

    async def stalled_rows(self, *, now_s: float) -> list[OpenRow]:
        """The exports past their deadlines, and every row whose request is in doubt."""
        return await self._writer.ask(queries.stalled_rows, now=now_s)

    def left_down(self) -> LeftDown | None:
        """The servers that are not up, where the file can still be read; None = the target was taken over."""
        return left_down(self.path, self._lease)


def _record_of(db: sqlite3.Connection, target_id: int) -> TargetRecord:
    """The target as it is now, for one that is about to be compared by its volumes."""
    db.execute(UNIQUE_INDEXES["volume_id"])
    return next(each for each in target_records(db) if each.target_id == target_id)


class ServerBook:
    """Which servers are down for which rows. Raises what `Work` raises."""

    def __init__(self, writer: TargetWriter, path: Path) -> None:
        self._writer = writer
        self._path = path

    async def afoot(self) -> list[AfootServer]:
        """The servers that are not up again."""
        return await self._writer.ask(servers.afoot)

    async def next_held(self, job_id: int, *, limit: int) -> list[LinkedRow]:
        """The first rows behind this one that wait for servers, in the order of the list."""
        return await self._writer.ask(servers.next_held, job_id=job_id, limit=limit)

    async def rows_of(self, server_ids: Collection[str]) -> list[LinkedRow]:
        """The rows that hang on any of these servers and are not at their end."""
        return await self._writer.ask(servers.rows_of, server_ids=server_ids)

    async def under_way(self) -> list[LinkedRow]:
        """The rows that were sent and hang on servers."""
        return await self._writer.ask(servers.under_way)

    async def disturbed(self) -> dict[int, str]:
        """By job id, the server that came up while the volume of the row was being exported."""
        return await self._writer.ask(servers.disturbed)

    async def volumes_of(self, server_ids: Collection[str]) -> frozenset[str]:
        """The volumes of all rows that hang on these servers, whatever became of them."""
        return await self._writer.ask(servers.volumes_of, server_ids=server_ids)

    async def down_elsewhere(self) -> dict[str, Elsewhere]:
        """The servers that other state files of the folder have stopped, by id."""
        return await self._writer.run(lambda _: down_elsewhere(self._path))

    def hold(self, job: Job, server_ids: Sequence[str]) -> None:
        """A pending row waits for these servers: nobody claims it. Durable with the next flush."""
        self._writer.submit(servers.hold, job_id=job.job_id, server_ids=server_ids)

    async def link(self, job: Job, server_ids: Sequence[str]) -> None:
        """The row hangs on these servers, and on no others."""
        await self._writer.ask(servers.link, job_id=job.job_id, server_ids=server_ids)

    async def release(self, jobs: Sequence[Job], *, at_s: float) -> None:
        """These rows may go, before all that never waited."""
        job_ids = [job.job_id for job in jobs]
        await self._writer.ask(servers.release, job_ids=job_ids, next_at=at_s)

    async def let_go(self, jobs: Sequence[Job]) -> None:
        """These rows have nothing to do with servers any more, and may go."""
        job_ids = [job.job_id for job in jobs]
        await self._writer.ask(servers.let_go, job_ids=job_ids)

    async def stopping(self, found: Sequence[Server], *, at_s: float) -> None:
        """These are about to be asked to stop, and were found like this."""
        await self._writer.ask(servers.stopping, servers=found, at=at_s)

    async def down(self, server_ids: Collection[str], *, at_s: float) -> None:
        """These have stopped."""
        await self._writer.ask(servers.down, server_ids=server_ids, at=at_s)

    async def start(self, server_ids: Collection[str], *, anyway: bool = False) -> frozenset[str]:
        """Those of these that may be asked to start: nothing of them is being copied, unless `anyway`, and
        what is pending is held again.
        """
        return await self._writer.ask(servers.start, server_ids=server_ids, anyway=anyway)

    async def up(
        self,
        server_ids: Collection[str],
        *,
        at_s: float,
        state: ServerState = ServerState.UP,
    ) -> None:
        """These are up again, or gone; what is pending of them is held."""
        await self._writer.ask(servers.up, server_ids=server_ids, state=state, at=at_s)

    async def runs(self, server_ids: Collection[str], *, at_s: float) -> None:
        """These, which are not ours to start, were seen running."""
        await self._writer.ask(servers.runs, server_ids=server_ids, at=at_s)

    async def note(self, server_id: str, words: str) -> None:
        """What is wrong with a server, until it is up."""
        await self._writer.ask(servers.note, server_id=server_id, words=words)
