"""The state file for the one process that works: what the engine knows, and every change it makes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from batchexport.clock import boottime_s
from batchexport.errors import BatchExportError, StateError
from batchexport.model import FINAL_STATES, Accepted, Ending, Job, JobState
from batchexport.store import (
    changes,
    fitting,
    giving_up,
    image_statuses,
    lease,
    queries,
    together,
    unsent,
    volume_names,
)
from batchexport.store.faults import reading
from batchexport.store.giving_up import OpenRow
from batchexport.store.known_images import ImageBook
from batchexport.store.lease import LEASE_S, Lease
from batchexport.store.locks import Held, Locks
from batchexport.store.opening import open_for_work
from batchexport.store.owner import this_process
from batchexport.store.records import RunRecord, TargetRecord, Unsent
from batchexport.store.removals import RemovalBook
from batchexport.store.server_book import ServerBook
from batchexport.store.signed_in import SignedIn
from batchexport.store.sweep import sweep
from batchexport.store.writer import Writer, undone_if_cancelled


class StateFile(SignedIn):
    """An open state file. What is awaited is durable when it returns; the rest is with the next `flush`.

    Changes are kept in order. Those that nobody awaits raise LeaseLostError or StateWriteError only once it
    is known; a change that is not allowed is left out, and raised as StateError by `flush` and `claim`.
    """

    def __init__(
        self,
        writer: Writer,
        path: Path,
        run: RunRecord,
        targets: list[TargetRecord],
        *,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self.path = path
        self.run = run
        self.removals = RemovalBook(writer)
        self.servers = ServerBook(writer, path)
        self.images = ImageBook(writer)
        self._writer = writer
        self._targets = targets
        self._now = now
        self._clock = clock
        self._locks = Locks(path)
        self._leases = 0

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        write_grace_s: float = 60.0,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = boottime_s,
    ) -> Self:
        """The state file at `path`, brought up to date where it is of an older format.

        While the disk takes nothing, changes are kept in memory and tried again for `write_grace_s`.
        `clock` counts the seconds of leases; it must go on while the machine is suspended. Raises
        StateCorruptError and leaves the file alone where it is no whole state file.
        """
        sweep(path)
        db = open_for_work(path)
        with reading(path):
            run, targets = queries.run_record(db), queries.targets(db)
        writer = Writer(db, path, write_grace_s=write_grace_s)
        return cls(writer, path, run, targets, now=now, clock=clock)

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
        """Make everything durable, and leave one file. Raises what kept a change from being written."""
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
        """Changes that are not durable yet."""
        return self._writer.backlog

    def targets(self) -> list[TargetRecord]:
        """Every target, as the file was when it was opened."""
        return list(self._targets)

    async def flush(self) -> None:
        """Wait until every change so far is durable. Raises StateError if one of them was not allowed."""
        await self._writer.drain()
        self._writer.check()

    async def take(self, target_id: int, *, ttl_s: float = LEASE_S, is_work: bool = True) -> Lease:
        """The target for this process alone, from now until `ttl_s` after the last renewal.

        `is_work` says whether this is a time at which the rows are worked on, for whoever asks when that was.

        Raises StateInUseError while another process may be at work on it. One that is known to be dead is
        replaced at once, another when its lease has run out.
        """
        asked_at_s, now = self._clock(), self._now()
        held = self._locks.acquire()
        me = replace(this_process(now=now), locks_file=held is Held.ALONE, file=self._locks.inode)
        taken = partial(
            lease.take, target_id=target_id, me=me, now=now, ttl_s=ttl_s, held=held, is_work=is_work
        )
        taking = self._writer.ask(taken, checkpoint=True)

        def give_back(done: asyncio.Future[int]) -> None:
            if done.exception() is None:
                self._writer.submit(
                    partial(lease.release, target_id=target_id, now=now), _lease(done.result())
                )

        def _lease(epoch: int) -> Lease:
            return Lease(
                target_id=target_id, epoch=epoch, ttl_s=ttl_s, asked_at_s=asked_at_s, clock=self._clock
            )

        self._leases += 1
        try:
            return _lease(await undone_if_cancelled(taking, give_back))
        except BaseException:
            self._left()
            raise

    async def renew(self, held: Lease) -> None:
        """Keep the target for another `ttl_s`. Raises LeaseLostError if another process has it."""
        held.check_owned()
        asked_at_s = self._clock()
        renewing = partial(lease.renew, target_id=held.target_id, now=self._now(), ttl_s=held.ttl_s)
        await self._writer.ask(renewing, held)
        held.extend(asked_at_s)

    def check_in_place(self) -> None:
        """Raise StateError where the file was removed or replaced: nobody sees what we write any more."""
        if not self._locks.in_place():
            raise StateError(
                f"{self.path} was removed or replaced while it was worked on: nothing more is sent",
                hint="what it holds is written anew at its end: in its place, or beside it as .lost.state",
            )

    async def release(self, held: Lease) -> None:
        """Leave the target, after everything that was changed before, to whoever comes next."""
        held.check_owned()
        releasing = partial(lease.release, target_id=held.target_id, now=self._now())
        try:
            await self._writer.ask(releasing, held)
        finally:
            self._left()
        held.lose("it was released")

    async def claim(
        self,
        held: Lease,
        limit: int,
        *,
        now_s: float,
        server_now_s: float,
        most_gib: int | None = None,
    ) -> list[Job]:
        """At most `limit` jobs whose intent is now on disk: those whose wait is over, then new ones.

        With `most_gib`, only jobs whose volume is not larger, as far as its size is known.
        """
        self._writer.check()
        held.check_owned()
        how = changes.claim if most_gib is None else partial(fitting.claim, most_gib=most_gib)
        claiming = self._writer.ask(
            partial(how, target_id=held.target_id, limit=limit, now=now_s, server_now=server_now_s), held
        )

        def give_back(done: asyncio.Future[list[Job]]) -> None:
            if done.exception() is None:
                for job in done.result():
                    self.put_back(held, job, None, next_at=0.0, at_s=now_s, counted=False)

        return await undone_if_cancelled(claiming, give_back)

    def accepted(self, held: Lease, job: Job, accepted: Accepted, *, at_s: float, deadline_at: float) -> None:
        """Submitting to exporting: the cloud took the job, or was found to have taken it."""
        held.check_owned()
        self._writer.submit_one_of(together.ACCEPTED, (job, accepted, at_s, deadline_at), held)

    def ended(self, held: Lease, job: Job, state: JobState, ending: Ending, *, at_s: float) -> None:
        """To a final state, with the reason."""
        if state not in FINAL_STATES:
            raise StateError(f"job {job.job_id}: {state} is no end")
        held.check_owned()
        self._writer.submit_one_of(together.ENDED[state], (job, ending, at_s), held)

    def refused(self, held: Lease, job: Job, state: JobState, ending: Ending, *, at_s: float) -> None:
        """Pending to failed or skipped without an attempt: none could have succeeded."""
        self._change(
            held,
            partial(changes.refuse, target_id=held.target_id, job=job, state=state, ending=ending, at=at_s),
        )

    def put_back(
        self,
        held: Lease,
        job: Job,
        ending: Ending | None,
        *,
        next_at: float,
        at_s: float,
        counted: bool,
        sent: bool = False,
    ) -> None:
        """Back to pending, not before `next_at` (0 = at once). Uncounted, its attempt number is free again.

        With an ending, or counted, the attempt stays in the audit trail; a job whose image is known cannot
        be put back without. `sent` says that the request may have reached the cloud: images are looked for
        before the next one.
        """
        self._change(
            held,
            partial(
                changes.put_back,
                target_id=held.target_id,
                job=job,
                ending=ending,
                next_at=next_at,
                at=at_s,
                counted=counted,
                sent=sent,
            ),
        )

    def reopen(self, held: Lease, job: Job) -> None:
        """Ambiguous to pending: the cloud was found to hold no image of it any more."""
        self._change(held, partial(changes.reopen, target_id=held.target_id, job=job))

    def learned(self, held: Lease, requests_per_second: float) -> None:
        """Keep the rate that the cloud allows, for the next process."""
        self._change(
            held,
            partial(changes.set_rate, target_id=held.target_id, requests_per_second=requests_per_second),
        )

    def volume_names(self, held: Lease, names: Mapping[str, str]) -> None:
        """Note what volumes are called, by volume id; volumes that are not in the list are passed over."""
        self._change(held, partial(volume_names.add_listed, target_id=held.target_id, names=dict(names)))

    def images_seen(self, held: Lease, statuses: Mapping[str, str]) -> None:
        """Note what images were when they were looked at, by image id: for people."""
        self._change(held, partial(image_statuses.note, target_id=held.target_id, statuses=dict(statuses)))

    def sizes(self, held: Lease, size_gib_of: Mapping[str, int]) -> None:
        """Note sizes by volume id; volumes that are not in the list are passed over."""
        self._change(
            held,
            partial(changes.set_sizes, target_id=held.target_id, size_gib_of=dict(size_gib_of)),
        )

    async def unsettled(self, held: Lease) -> list[Job]:
        """Jobs that are submitting: right after `take`, those that a dead process may have sent."""
        return await self._under_way(held, JobState.SUBMITTING)

    async def exporting(self, held: Lease) -> list[Job]:
        """Jobs whose images the cloud is writing."""
        return await self._under_way(held, JobState.EXPORTING)

    async def ambiguous(self, held: Lease) -> list[Job]:
        """Jobs with several images, of which a person or `reconcile` is to say which one counts."""
        return await self._writer.ask(partial(queries.ambiguous, target_id=held.target_id), held)

    async def next_due_s(self, held: Lease, *, most_gib: int | None = None) -> float | None:
        """When the next pending job may go, seconds since the epoch; 0.0 = now, None = none is pending.

        `most_gib` is that of `claim`.
        """
        how = queries.next_due_s if most_gib is None else partial(fitting.next_due_s, most_gib=most_gib)
        return await self._writer.ask(partial(how, target_id=held.target_id), held)

    async def unsized(self, held: Lease) -> int:
        """How many pending jobs have a volume of unknown size, which nobody has looked at. Always fast."""
        return await self._writer.ask(partial(unsent.count, target_id=held.target_id), held)

    async def pending(self, held: Lease) -> int:
        """How many jobs are pending. Always fast."""
        return await self._writer.ask(partial(unsent.pending, target_id=held.target_id), held)

    async def unsent_of(self, held: Lease, volume_ids: Sequence[str]) -> list[Unsent]:
        """The jobs for these volumes that were neither tried nor looked at."""
        asking = partial(unsent.of_volumes, target_id=held.target_id, volume_ids=volume_ids)
        return await self._writer.ask(asking, held)

    async def unsent_named(self, held: Lease, image_names: Sequence[str]) -> list[Unsent]:
        """The jobs never tried that want one of these image names."""
        asking = partial(unsent.of_names, target_id=held.target_id, image_names=image_names)
        return await self._writer.ask(asking, held)

    async def unsent_after(self, held: Lease, job_id: int, *, limit: int) -> list[Unsent]:
        """The first jobs behind this one that were neither tried nor looked at."""
        asking = partial(unsent.after, target_id=held.target_id, job_id=job_id, limit=limit)
        return await self._writer.ask(asking, held)

    async def open_rows(self, held: Lease, volume_ids: Sequence[str]) -> list[OpenRow]:
        """The rows for these volumes that are not at their end."""
        asking = partial(giving_up.of_volumes, target_id=held.target_id, volume_ids=volume_ids)
        return await self._writer.ask(asking, held)

    async def stalled_rows(self, held: Lease, *, now_s: float) -> list[OpenRow]:
        """The exports past their deadlines, and every row whose request is in doubt."""
        return await self._writer.ask(partial(giving_up.stalled, target_id=held.target_id, now=now_s), held)

    def give_up(self, held: Lease, row: OpenRow, ending: Ending, *, at_s: float) -> None:
        """To failed, from any state that is no end, because somebody gave the row up."""
        self._change(
            held, partial(giving_up.give_up, target_id=held.target_id, row=row, ending=ending, at=at_s)
        )

    async def counts(self) -> dict[JobState, int]:
        """How many jobs of all targets are in each state; every state is there."""
        return await self._writer.ask(queries.counts)

    def _left(self) -> None:
        """One target fewer is ours; with the last, the file is free for everybody."""
        self._leases -= 1
        if not self._leases:
            self._locks.release()

    async def _under_way(self, held: Lease, state: JobState) -> list[Job]:
        return await self._writer.ask(partial(queries.under_way, target_id=held.target_id, state=state), held)

    def _change(self, held: Lease, change: Callable[..., object]) -> None:
        held.check_owned()
        self._writer.submit(change, held)
