"""What is done with a target of a state file once it is signed in, and before its rows are worked on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from batchexport.errors import StateError
from batchexport.identity import CloudIdentity
from batchexport.model import ALLOWED_CHANGES, FINAL_STATES, JobState
from batchexport.store import changes, elsewhere, identities, queries
from batchexport.store.lease import Lease
from batchexport.store.records import TargetRecord
from batchexport.store.schema import UNIQUE_INDEXES
from batchexport.store.writer import Writer

#: States from which `retry` brings a job back.
RETRYABLE = frozenset(state for state in FINAL_STATES if JobState.PENDING in ALLOWED_CHANGES[state])


class SignedIn:
    """The part of an open state file that binds targets to clouds, and says which rows are to go."""

    path: Path
    _writer: Writer
    _now: Callable[[], float]

    async def retry(self, held: Lease, states: frozenset[JobState] = frozenset({JobState.FAILED})) -> int:
        """How many jobs of the target in these states are pending again, with a full allowance."""
        if not states <= RETRYABLE:
            wrong = ", ".join(sorted(states - RETRYABLE))
            raise StateError(f"jobs that are {wrong} cannot be tried again")
        retrying = partial(changes.retry, target_id=held.target_id, states=sorted(states))
        return await self._writer.ask(retrying, held)

    async def bind(self, held: Lease, found: CloudIdentity, *, rebind: bool = False) -> None:
        """Note which cloud the target is, at its first sign-in; raises WrongCloudError at another later on.

        With `rebind` the addresses of the cloud's services may have changed, and are noted anew.
        """
        binding = partial(
            identities.bind, target_id=held.target_id, found=found, at=self._now(), rebind=rebind
        )
        await self._writer.ask(binding, held)

    async def skip_known_twice(self, held: Lease) -> int:
        """How many pending jobs were skipped, for another target of the same project has their volumes."""
        skipping = partial(identities.skip_known_twice, target_id=held.target_id, at=self._now())
        return await self._writer.ask(skipping, held)

    async def skip_exported_elsewhere(self, held: Lease, others: Sequence[Path]) -> dict[Path, int]:
        """How many pending jobs were skipped, for these other state files show their volumes as exported."""
        mine = await self._writer.ask(partial(_record_of, target_id=held.target_id), held)
        skipped: dict[Path, int] = {}
        for rows in elsewhere.exported_elsewhere(self.path, held.target_id, mine, others):
            skipping = partial(elsewhere.skip, target_id=held.target_id, rows=rows, at=self._now())
            if rows and (count := await self._writer.ask(skipping, held)):
                skipped[rows[0].path] = skipped.get(rows[0].path, 0) + count
        return skipped


def _record_of(db: sqlite3.Connection, target_id: int) -> TargetRecord:
    """The target as it is now, for one that is about to be compared by its volumes."""
    db.execute(UNIQUE_INDEXES["volume_id"])
    return next(each for each in queries.targets(db) if each.target_id == target_id)
