"""One thread that writes, with group commit: what queues up during one commit goes into the next."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from batchexport.changes import JobChange
from batchexport.errors import BatchExportError, StateError, StateInUseError, StateWriteError
from batchexport.store.sqlite.changes import Bulk, bulk_of, forbidden
from batchexport.store.sqlite.lease import Lease
from batchexport.store.sqlite.sqlite_errors import repeated
from batchexport.store.sqlite.transactions import Transactions

log = logging.getLogger(__name__)

T = TypeVar("T")

#: The most operations in one transaction: beyond it a commit costs more per row, not less.
MOST_OPERATIONS = 500
#: How long a change nobody waits for may wait for company.
LINGER_S = 0.010
#: Pauses after a commit that failed double from the first to the longest.
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0


class _Operation(NamedTuple):
    run: Callable[[sqlite3.Connection], Any]
    lease: Lease | None
    waiter: asyncio.Future[Any] | None
    checkpoint: bool = False  #: what it wrote is to be in the main file, too, before it is answered


class _Batch(msgspec.Struct):
    """Changes of one kind that were queued one after another: they go into one statement."""

    bulk: Bulk
    lease: Lease
    changes: list[JobChange]


class _Answer(NamedTuple):
    waiter: asyncio.Future[Any]
    result: Any
    error: BatchExportError | None


class Writer:
    """Runs operations in order on a connection of its own. Each is durable once its batch is committed.

    An operation may run more than once, each time after a rollback. It raises an error of ours only before
    it has changed anything; the other operations of its batch are not touched by that.
    """

    def __init__(self, transactions: Transactions, path: Path, *, write_grace_s: float) -> None:
        self._transactions = transactions
        self._db = transactions.db
        self._path = path
        self._write_grace_s = write_grace_s
        self._changed = threading.Condition()
        self._queue: deque[_Operation | _Batch] = deque()
        self._queued = 0  # operations in the queue, each of a batch for itself
        self._waiting = 0  # operations in the queue that somebody awaits
        self._in_commit = 0
        self._stopping = False
        self._broken: StateError | None = None
        self._fault: StateError | None = None
        self._fault_told = False
        # A daemon, so that a program that ends without closing does end; what was acknowledged is on disk.
        self._thread = threading.Thread(target=self._work, name=f"writer of {path.name}", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Operations that are not durable yet."""
        with self._changed:
            return self._queued + self._in_commit

    def submit(self, run: Callable[[sqlite3.Connection], object], lease: Lease | None = None) -> None:
        """Queue an operation that nobody awaits. Raises what stopped the writer."""
        self._put(_Operation(run, lease, None))

    def apply(self, change: JobChange, lease: Lease) -> None:
        """Queue a change of a job. Raises what stopped the writer."""
        bulk = bulk_of(change)
        with self._changed:
            self._check_open()
            last = self._queue[-1] if self._queue else None
            if isinstance(last, _Batch) and self._has_room(last, bulk, lease):
                last.changes.append(change)
            else:
                self._queue.append(_Batch(bulk, lease, [change]))
            self._wake_for_one_more()

    def ask(
        self, run: Callable[[sqlite3.Connection], T], lease: Lease | None = None, *, checkpoint: bool = False
    ) -> asyncio.Future[T]:
        """The result of an operation, once it is durable, with `checkpoint` in the main file as well.

        Raises what stopped the writer.
        """
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(_Operation(run, lease, waiter, checkpoint))
        return waiter

    async def drain(self) -> None:
        """Wait until all that is queued is durable."""
        await self.ask(_nothing)

    def check(self, *, again: bool = True) -> None:
        """Raise the first error of an operation that nobody awaited; only if it is new, where not `again`."""
        if self._fault is not None and (again or not self._fault_told):
            self._fault_told = True
            raise repeated(self._fault)

    def close(self, *, copy_to: Path | None = None) -> None:
        """Write what is queued, unless the disk refuses, and close the file. Blocks.

        A file whose name was taken away would be gone with that: `copy_to` gets what it holds.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        self._transactions.close(copy_to)

    def _put(self, operation: _Operation) -> None:
        with self._changed:
            self._check_open()
            self._queue.append(operation)
            self._waiting += operation.waiter is not None
            self._wake_for_one_more(at_once=operation.waiter is not None)

    def _check_open(self) -> None:
        if self._broken is not None:
            raise repeated(self._broken)
        if self._stopping:
            raise StateError(f"{self._path}: it is closed already")

    @staticmethod
    def _has_room(batch: _Batch, bulk: Bulk, lease: Lease) -> bool:
        return batch.bulk is bulk and batch.lease is lease and len(batch.changes) < MOST_OPERATIONS

    def _wake_for_one_more(self, *, at_once: bool = False) -> None:
        self._queued += 1
        if at_once or self._queued in (1, MOST_OPERATIONS):
            # All, though only one thread waits: a signal handler that raises within `notify` leaves a waiter
            # there that has gone, and the next one would be lost on it.
            self._changed.notify_all()

    def _work(self) -> None:
        batch: list[_Operation | _Batch] = []
        try:
            while batch := self._next_batch():
                answers = self._commit_patiently(batch)
                is_asked = any(isinstance(each, _Operation) and each.checkpoint for each in batch)
                self._transactions.committed(checkpoint=is_asked)
                self._in_commit = 0
                self._deliver(answers)
        except StateError as error:
            self._break(error, batch)
        except Exception as error:  # whoever waits must hear of it, whatever it is
            extra = {"action": "writer_stopped", "path": str(self._path)}
            log.debug("the writer of %s stopped", self._path, exc_info=True, extra=extra)
            self._break(StateError(f"{self._path}: the writer stopped: {error!r}"), batch)

    def _next_batch(self) -> list[_Operation | _Batch]:
        """The next operations to commit together, empty when the writer is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping)
            self._changed.wait_for(self._is_pressing, LINGER_S)
            batch: list[_Operation | _Batch] = []
            while self._queue and self._in_commit < MOST_OPERATIONS:
                batch.append(operation := self._queue.popleft())
                self._in_commit += len(operation.changes) if isinstance(operation, _Batch) else 1
                self._waiting -= isinstance(operation, _Operation) and operation.waiter is not None
            self._queued -= self._in_commit
            return batch

    def _is_pressing(self) -> bool:
        return bool(self._waiting) or self._stopping or self._queued >= MOST_OPERATIONS

    def _commit_patiently(self, batch: list[_Operation | _Batch]) -> list[_Answer]:
        """Commit, and again while the disk refuses. The operations stay in memory meanwhile."""
        give_up_at = None
        pause_s = FIRST_PAUSE_S
        answers: list[_Answer] = []
        while True:
            try:
                if give_up_at is None or not self._transactions.has_committed():
                    answers = []
                    self._commit(batch, answers)
            except self._transactions.faults as error:
                fault = self._transactions.translated(error)
                if not isinstance(fault, (StateWriteError, StateInUseError)):
                    raise fault from error
                now = time.monotonic()
                if give_up_at is None:
                    give_up_at = now + self._write_grace_s
                    extra = {"action": "write_failed", "path": str(self._path)}
                    log.warning("%s; trying again for %.0f s", fault, self._write_grace_s, extra=extra)
                if not self._pause(min(pause_s, give_up_at - now)):
                    raise StateWriteError(str(fault), hint=fault.hint) from error
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                if give_up_at is not None:
                    extra = {"action": "write_succeeded", "path": str(self._path)}
                    log.warning("%s: it can be written again, nothing was lost", self._path, extra=extra)
                return answers

    def _pause(self, pause_s: float) -> bool:
        """Wait; whether there is time for another try."""
        with self._changed:
            return pause_s > 0 and not self._changed.wait_for(lambda: self._stopping, pause_s)

    def _commit(self, batch: list[_Operation | _Batch], answers: list[_Answer]) -> None:
        """Commit once; the answers of those who wait count only when that has succeeded."""
        epochs: dict[int, int] = {}
        try:
            self._transactions.begin()
            for operation in batch:
                if isinstance(operation, _Batch):
                    self._run_batch(operation, epochs)
                elif (answer := self._run(operation, epochs)) is not None:
                    answers.append(answer)
            self._transactions.commit()
        finally:
            self._transactions.roll_back()

    def _run(self, operation: _Operation, epochs: dict[int, int]) -> _Answer | None:
        result, failed = None, None
        try:
            if operation.lease is None:
                epochs.clear()  # it may be one that raises an epoch
            else:
                self._fence(operation.lease, epochs)
            result = operation.run(self._db)
        except BatchExportError as error:
            failed = error
        if operation.waiter is not None:
            return _Answer(operation.waiter, result, failed)
        self._note(failed)
        return None

    def _run_batch(self, batch: _Batch, epochs: dict[int, int]) -> None:
        """All in one statement; where one of them is not allowed, one by one, and that one is left out."""
        target_id = batch.lease.target_id
        try:
            self._fence(batch.lease, epochs)
        except BatchExportError:
            return  # told by the lease: it is lost
        if len(batch.changes) > 1 and self._change_all(batch, target_id):
            return
        for change in batch.changes:
            if not batch.bulk.make(self._db, target_id, [change]):
                self._note(forbidden(self._db, change))

    def _change_all(self, batch: _Batch, target_id: int) -> bool:
        self._db.execute("SAVEPOINT bulk")
        done = batch.bulk.make(self._db, target_id, batch.changes)
        if not done:
            self._db.execute("ROLLBACK TO bulk")
        self._db.execute("RELEASE bulk")
        return done

    def _note(self, error: BatchExportError | None) -> None:
        """Keep the first error of an operation that nobody awaits. A lost lease tells of itself."""
        if isinstance(error, StateError) and self._fault is None:
            log.error("%s", error, extra={"action": "change_refused", "path": str(self._path)})
            self._fault = error

    def _fence(self, lease: Lease, epochs: dict[int, int]) -> None:
        """Let an operation through only if its lease is the target's latest."""
        target_id = lease.target_id
        if target_id not in epochs:
            (epochs[target_id],) = self._db.execute(self._transactions.fence, (target_id,)).fetchone()
        if epochs[target_id] != lease.epoch:
            lease.lose("another process took it over")
        lease.check_owned()

    def _break(self, error: StateError, batch: Iterable[_Operation | _Batch]) -> None:
        with self._changed:
            self._broken = error
            asked = [each for each in (*batch, *self._queue) if isinstance(each, _Operation)]
            self._queue.clear()
            self._queued = self._waiting = self._in_commit = 0
        waiters = [operation.waiter for operation in asked if operation.waiter is not None]
        self._deliver([_Answer(waiter, None, repeated(error)) for waiter in waiters])

    def _deliver(self, answers: list[_Answer]) -> None:
        if answers:
            loop = answers[0].waiter.get_loop()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(partial(_settle, answers))


class TargetWriter:
    """The writer as the owner of one target uses it: whatever is queued is fenced by the lease."""

    def __init__(self, writer: Writer, lease: Lease) -> None:
        self._writer = writer
        self._lease = lease

    def run(self, operation: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """The result of an operation, once it is durable. Raises LeaseLostError where the lease is lost."""
        self._lease.check_owned()
        return self._writer.ask(operation, self._lease)

    def ask(self, operation: Callable[..., T], **values: object) -> asyncio.Future[T]:
        """The result of an operation on the target, once it is durable; it is given the target's id, too."""
        return self.run(partial(operation, target_id=self._lease.target_id, **values))

    def submit(self, operation: Callable[..., object], **values: object) -> None:
        """Queue a change of the target that nobody awaits; it is given the target's id, too."""
        self._lease.check_owned()
        self._writer.submit(partial(operation, target_id=self._lease.target_id, **values), self._lease)

    def apply(self, change: JobChange) -> None:
        """Queue a change of a job."""
        self._lease.check_owned()
        self._writer.apply(change, self._lease)

    def check(self) -> None:
        """Raise the first error of a change that nobody awaited."""
        self._writer.check()


def _settle(answers: list[_Answer]) -> None:
    for waiter, result, error in answers:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(result)
        else:
            waiter.set_exception(error)


def _nothing(_: sqlite3.Connection) -> None:
    """No operation: its place in the queue is all that matters."""


async def undone_if_cancelled(
    asked: asyncio.Future[T], give_back: Callable[[asyncio.Future[T]], object]
) -> T:
    """The answer. Cancelled meanwhile, what was asked for still happens, and `give_back` undoes it."""
    try:
        return await asyncio.shield(asked)
    except asyncio.CancelledError:
        asked.add_done_callback(give_back)
        raise
