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

from batchexport.errors import BatchExportError, StateError, StateInUseError, StateWriteError
from batchexport.store.faults import repeated, translated
from batchexport.store.lease import Lease
from batchexport.store.opening import close_for_good

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


class _Answer(NamedTuple):
    waiter: asyncio.Future[Any]
    result: Any
    error: BatchExportError | None


class Writer:
    """Runs operations in order on a connection of its own. Each is durable once its batch is committed.

    An operation may run more than once, each time after a rollback. It raises an error of ours only before
    it has changed anything; the other operations of its batch are not touched by that.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, *, write_grace_s: float) -> None:
        self._db = db
        self._path = path
        self._write_grace_s = write_grace_s
        self._changed = threading.Condition()
        self._queue: deque[_Operation] = deque()
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
            return len(self._queue) + self._in_commit

    def submit(self, run: Callable[[sqlite3.Connection], object], lease: Lease | None = None) -> None:
        """Queue an operation that nobody awaits. Raises what stopped the writer."""
        self._put(_Operation(run, lease, None))

    def ask(self, run: Callable[[sqlite3.Connection], T], lease: Lease | None = None) -> asyncio.Future[T]:
        """The result of an operation, once it is durable. Raises what stopped the writer."""
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(_Operation(run, lease, waiter))
        return waiter

    async def drain(self) -> None:
        """Wait until all that is queued is durable."""
        await self.ask(_nothing)

    def check(self, *, again: bool = True) -> None:
        """Raise the first error of an operation that nobody awaited; only if it is new, where not `again`."""
        if self._fault is not None and (again or not self._fault_told):
            self._fault_told = True
            raise repeated(self._fault)

    def close(self) -> None:
        """Write what is queued, unless the disk refuses, and close the file. Blocks."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()
        close_for_good(self._db)

    def _put(self, operation: _Operation) -> None:
        with self._changed:
            if self._broken is not None:
                raise repeated(self._broken)
            if self._stopping:
                raise StateError(f"{self._path}: it is closed already")
            self._queue.append(operation)
            self._waiting += operation.waiter is not None
            if operation.waiter is not None or len(self._queue) in (1, MOST_OPERATIONS):
                self._changed.notify()

    def _work(self) -> None:
        batch: list[_Operation] = []
        try:
            while batch := self._next_batch():
                answers = self._commit_patiently(batch)
                self._in_commit = 0
                self._deliver(answers)
        except StateError as error:
            self._break(error, batch)
        except Exception as error:  # whoever waits must hear of it, whatever it is
            log.exception("the writer of %s stopped", self._path)
            self._break(StateError(f"{self._path}: the writer stopped: {error!r}"), batch)

    def _next_batch(self) -> list[_Operation]:
        """The next operations to commit together, empty when the writer is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping)
            self._changed.wait_for(self._is_pressing, LINGER_S)
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), MOST_OPERATIONS))]
            self._waiting -= sum(operation.waiter is not None for operation in batch)
            self._in_commit = len(batch)
            return batch

    def _is_pressing(self) -> bool:
        return bool(self._waiting) or self._stopping or len(self._queue) >= MOST_OPERATIONS

    def _commit_patiently(self, batch: list[_Operation]) -> list[_Answer]:
        """Commit, and again while the disk refuses. The operations stay in memory meanwhile."""
        give_up_at = None
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                answers = self._commit(batch)
            except sqlite3.Error as error:
                fault = translated(error, self._path, "write it")
                if not isinstance(fault, (StateWriteError, StateInUseError)):
                    raise fault from error
                now = time.monotonic()
                if give_up_at is None:
                    give_up_at = now + self._write_grace_s
                    log.warning("%s; trying again for %.0f s", fault, self._write_grace_s)
                if not self._pause(min(pause_s, give_up_at - now)):
                    raise StateWriteError(str(fault), hint=fault.hint) from error
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                if give_up_at is not None:
                    log.warning("%s: it can be written again, nothing was lost", self._path)
                return answers

    def _pause(self, pause_s: float) -> bool:
        """Wait; whether there is time for another try."""
        with self._changed:
            return pause_s > 0 and not self._changed.wait_for(lambda: self._stopping, pause_s)

    def _commit(self, batch: list[_Operation]) -> list[_Answer]:
        db = self._db
        answers: list[_Answer] = []
        epochs: dict[int, int] = {}
        try:
            db.execute("BEGIN IMMEDIATE")
            for operation in batch:
                answer = self._run(operation, epochs)
                if answer is not None:
                    answers.append(answer)
            db.execute("COMMIT")
        finally:
            # A full disk has rolled back already; other errors leave the transaction open.
            if db.in_transaction:
                db.execute("ROLLBACK")
        return answers

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
        if isinstance(failed, StateError) and self._fault is None:
            log.error("%s", failed)
            self._fault = failed
        return None

    def _fence(self, lease: Lease, epochs: dict[int, int]) -> None:
        """Let an operation through only if its lease is the target's latest."""
        target_id = lease.target_id
        if target_id not in epochs:
            (epochs[target_id],) = self._db.execute(
                "SELECT epoch FROM target WHERE target_id = ?", (target_id,)
            ).fetchone()
        if epochs[target_id] != lease.epoch:
            lease.lose("another process took it over")
        lease.check_owned()

    def _break(self, error: StateError, batch: Iterable[_Operation]) -> None:
        with self._changed:
            self._broken = error
            dropped = [*batch, *self._queue]
            self._queue.clear()
            self._waiting = self._in_commit = 0
        waiters = [operation.waiter for operation in dropped if operation.waiter is not None]
        self._deliver([_Answer(waiter, None, repeated(error)) for waiter in waiters])

    def _deliver(self, answers: list[_Answer]) -> None:
        if answers:
            loop = answers[0].waiter.get_loop()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(partial(_settle, answers))


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
