"""How the writer commits to a state file; another back end commits in a way of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Protocol

from batchexport.errors import StateError
from batchexport.store.sqlite import log_mark
from batchexport.store.sqlite.connection import close_for_good, copy_whole
from batchexport.store.sqlite.sqlite_errors import translated

#: Rows changed between two checkpoints. With their pages in it, the log then has some 16 MB.
CHANGES_PER_CHECKPOINT = 10_000


class Transactions(Protocol):
    """One connection on which one thread commits batch after batch."""

    db: sqlite3.Connection
    #: What a statement or a commit raises; `translated` tells whether it is worth another try.
    faults: type[Exception]
    #: Gives the epoch of a target, which nobody raises before the transaction is over.
    fence: str

    def begin(self) -> None:
        """Begin a transaction in which the fence holds. Raises one of `faults`."""

    def commit(self) -> None:
        """Make all since `begin` durable. Raises one of `faults`, and StateError where it must not be."""

    def roll_back(self) -> None:
        """Undo what is left of a transaction, if any."""

    def has_committed(self) -> bool:
        """Whether the transaction whose `commit` failed last is durable after all.

        Raises one of `faults` while that cannot be told.
        """

    def committed(self, *, checkpoint: bool) -> None:
        """A batch was committed; with `checkpoint` some of it is wanted in the main file, too."""

    def translated(self, fault: Exception) -> StateError:
        """The fault in our words: StateWriteError or StateInUseError where another try may succeed."""

    def close(self, copy_to: Path | None) -> None:
        """Close the connection for good. What a file without a name holds goes to `copy_to`."""


class SqliteTransactions:
    """Transactions on a state file, which is locked by each from its beginning."""

    faults: type[Exception] = sqlite3.Error
    fence = "SELECT epoch FROM target WHERE target_id = ?"

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self.db = db
        self._path = path
        self._checkpointed = db.total_changes

    def begin(self) -> None:
        self.db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.db.execute("COMMIT")

    def roll_back(self) -> None:
        # A full disk has rolled back already; other errors leave the transaction open.
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")

    def has_committed(self) -> bool:
        return False  # a COMMIT that fails is none

    def committed(self, *, checkpoint: bool) -> None:
        if checkpoint or self.db.total_changes - self._checkpointed > CHANGES_PER_CHECKPOINT:
            log_mark.checkpoint(self.db)
            self._checkpointed = self.db.total_changes

    def translated(self, fault: Exception) -> StateError:
        assert isinstance(fault, sqlite3.Error)
        return translated(fault, self._path, "write it")

    def close(self, copy_to: Path | None) -> None:
        if copy_to is not None:
            copy_whole(self.db, copy_to)
        close_for_good(self.db)
