"""How the writer commits to a database: under a fence that locks, with a stamp that settles lost answers.

Each batch that changes something counts up a row of its own. After a connection was lost over a COMMIT that
row tells whether it took place. Where it counts less than was acknowledged the database itself went back, as
a standby does that takes over before it has everything: what was sent may be unknown, and nothing more is.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from batchexport.errors import StateError
from batchexport.store.postgres.postgres_errors import translated

if TYPE_CHECKING:
    import psycopg

    from batchexport.store.postgres.connection import RunConnection

_BEGIN_STAMP = "INSERT INTO stamp (writer_id, batches, seen_at) VALUES (%s, 0, %s)"
_STAMP = "UPDATE stamp SET batches = %s, seen_at = %s WHERE writer_id = %s AND batches = %s"
# It waits for a transaction of ours that the server still has in hand.
_READ_STAMP = "SELECT batches FROM stamp WHERE writer_id = %s FOR UPDATE"
_END_STAMP = "DELETE FROM stamp WHERE writer_id = %s OR seen_at < %s"
#: The stamp of a process that was killed is of no use any more.
_OLD_S = 30 * 86_400.0


class PostgresTransactions:
    """Transactions on one run in a database, by one thread."""

    #: `FOR SHARE`: whoever takes the target waits for this transaction, and it for whoever has taken it.
    fence = "SELECT epoch FROM target WHERE target_id = ? FOR SHARE"

    def __init__(self, connection: RunConnection) -> None:
        """Raises psycopg.Error."""
        import psycopg

        self.faults: type[Exception] = psycopg.Error
        self.db = cast(sqlite3.Connection, connection)
        self._connection = connection
        self._writer_id = uuid.uuid4().hex
        self._batches = 0  # acknowledged
        self._has_stamped = False  # in the transaction that is open, or failed last
        connection.raw.execute(_BEGIN_STAMP, (self._writer_id, time.time()))

    def begin(self) -> None:
        self._has_stamped = False
        self._connection.raw.execute("BEGIN")
        self._connection.wrote = False

    def commit(self) -> None:
        db = self._connection.opened  # never a new one, on which the stamp would count by itself
        assert db is not None
        if self._connection.wrote:
            values = (self._batches + 1, time.time(), self._writer_id, self._batches)
            if db.execute(_STAMP, values).rowcount != 1:
                raise self._went_back()
            self._has_stamped = True
        else:
            db.execute("SET LOCAL synchronous_commit = off")  # there is nothing to lose
        db.execute("COMMIT")
        self._batches += self._has_stamped
        self._has_stamped = False

    def roll_back(self) -> None:
        from psycopg.pq import TransactionStatus

        db = self._connection.opened
        if db is None or db.closed or db.info.transaction_status is TransactionStatus.IDLE:
            return
        try:
            db.execute("ROLLBACK")
        except self.faults:
            self._connection.close()  # the server rolls back what it has of it

    def has_committed(self) -> bool:
        db = self._connection.raw
        row = db.execute(_READ_STAMP, (self._writer_id,)).fetchone()
        if row is None or row[0] < self._batches:
            raise self._went_back()
        if row[0] == self._batches:
            return False
        if not self._has_stamped or row[0] > self._batches + 1:
            raise self._went_back()
        self._batches += 1
        self._has_stamped = False
        return True

    def committed(self, *, checkpoint: bool) -> None:
        pass  # the server does that by itself

    def translated(self, fault: Exception) -> StateError:
        return translated(cast("psycopg.Error", fault), self._connection.path, "write it")

    def close(self, copy_to: Path | None) -> None:
        with suppress(self.faults):
            if (db := self._connection.opened) is not None:
                db.execute(_END_STAMP, (self._writer_id, time.time() - _OLD_S))
        self._connection.close()

    def _went_back(self) -> StateError:
        return StateError(
            f"{self._connection.path}: the database has lost changes that it had acknowledged: it went back"
            " to an earlier moment; nothing more is sent",
            hint="as after a failover to a standby that was behind. Run the same command again when the"
            " database is as it is to stay: before anything is sent, each image is looked for by name",
        )
