"""How far apart the snapshots of one server were made: found once, and kept for whoever resumes the run."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from batchexport.engine.resources.book import ResourceBook
from batchexport.engine.steps.copy_marks import burst_of, job_of
from batchexport.model import ResourceType
from batchexport.store import Resource

log = logging.getLogger(__name__)


class CopyMoments:
    """What is to be said of the images that come of snapshots, beside that they are crash-consistent.

    It is kept as the note of the snapshot: once an image of the burst is made, its snapshot is gone, and
    from what is left nobody could tell any more.
    """

    def __init__(self, book: ResourceBook, failed: Callable[[int], int]) -> None:
        """`failed` tells how many copies of a job ended in an error."""
        self._book = book
        self._failed = failed
        self._words: dict[str, str] = {}  # by snapshot

    def of(self, snapshot: Resource | None, snapshot_id: str) -> str:
        """What is known; empty = nothing. `snapshot`: as the store has it."""
        return self._words.get(snapshot_id) or (snapshot and snapshot.note) or ""

    async def add(self, snapshot_ids: Sequence[str], words: str) -> None:
        """Say this of the images of these snapshots, too."""
        for each in snapshot_ids:
            self._words[each] = ", ".join(filter(None, (self._words.get(each), words)))
            await self._book.note(each, self._words[each])

    async def observe(self, outstanding: Sequence[Resource], created_at: Mapping[str, float]) -> None:
        """Note how far apart those are whose times, by the cloud's clock, are all known by now."""
        bursts = defaultdict[str, list[Resource]](list)
        for each in outstanding:
            if each.kind == ResourceType.SNAPSHOT and "." not in each.resource_id:  # no duplicate
                bursts[burst_of(each.resource_id)].append(each)
        for burst in bursts.values():
            ids = [each.resource_id for each in burst]
            is_noted = any(self.of(each, each.resource_id) for each in burst)
            if is_noted or not all(each in created_at for each in ids):
                continue
            if len(ids) > 1:
                await self._note_spread(ids, [created_at[each] for each in ids])
            elif self._failed(job_of(ids[0])):
                await self.add(ids, "made later than others of its server: the first ended in an error")

    async def _note_spread(self, ids: Sequence[str], times: Sequence[float]) -> None:
        apart_s = max(times) - min(times)
        await self.add(ids, f"{len(times)} volumes of its server within {apart_s:.1f} s")
        extra = {"action": "snapshots_made", "count": len(times), "seconds_apart": round(apart_s, 3)}
        log.info("%d snapshots of one server were made within %.1f s", len(times), apart_s, extra=extra)
