"""Deleting an image of ours: noted before the request and after, under the lease of each file naming it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from enum import StrEnum
from pathlib import Path

from batchexport.engine.operations import NotSentError, perform
from batchexport.engine.ports import Cloud
from batchexport.engine.steps.delete_image import DeleteImage, Record
from batchexport.errors import LeaseLostError, StateError
from batchexport.model import TargetKey
from batchexport.plan.retention import Recorded
from batchexport.store import StateFile, Work

#: As in a run: a lease lasts 30 s.
_RENEW_EVERY_S = 10.0


class Found(StrEnum):
    """What was found of an image that may be removed, or done about it."""

    GONE = "gone"  #: the cloud removed it already
    RETAINED = "retained"  #: a rule of the job file keeps it
    KEPT = "kept"  #: it is not ours to remove: finished, changed, or not proved ours
    LEFT_OVER = "left over"  #: would be removed
    REMOVED = "removed"
    STUCK = "stuck"  #: could not be removed, or not be looked at


class Remover:
    """Deletes images that the rows of some state files name, which are held meanwhile."""

    def __init__(
        self, cloud: Cloud, held: dict[Path, Work], *, run_id: str, now: Callable[[], float]
    ) -> None:
        self._cloud = cloud
        self._held = held
        self._run_id = run_id
        self._now = now

    async def remove(self, image_id: str, records: Sequence[Recorded], words: str) -> tuple[Found, str]:
        """Delete the image; `words` says why, for the note.

        Raises StateError where it cannot be noted first, LeaseLostError where the lease may be another's: the
        image stays then.
        """
        await self.settle(image_id, records, Found.STUCK, "requested again: the outcome is not known")
        deletion = DeleteImage(
            self._cloud,
            image_id,
            [Record(self._held[each.state_path], each.job_id) for each in records],
            run_id=self._run_id,
            why=words,
            now=self._now,
        )
        try:
            outcome = await perform(deletion, list(self._held.values()))
        except NotSentError:
            reason = "the lease ran out before the request was sent; nothing was removed"
            raise LeaseLostError(reason) from None
        if outcome is None:
            return Found.STUCK, str(deletion.error)
        return Found(outcome), words if outcome == Found.REMOVED else "gone"

    async def settle(self, image_id: str, records: Sequence[Recorded], found: Found, words: str) -> None:
        """Note what came of earlier deletions of the image whose outcome is not known."""
        for each in records:
            held = self._held[each.state_path]
            await held.removals.settle(image_id, found.value, words, at_s=self._now())


@asynccontextmanager
async def removing(
    cloud: Cloud, paths: Sequence[Path], target: TargetKey, *, run_id: str, now: Callable[[], float]
) -> AsyncIterator[Remover]:
    """What deletes images of a target that these state files name.

    Raises StateInUseError while another process works on one of them, StateError where one cannot be used.
    """
    async with AsyncExitStack() as stack:
        held = {
            path: await stack.enter_async_context(_hold(path, target, now)) for path in sorted(set(paths))
        }
        yield Remover(cloud, held, run_id=run_id, now=now)


@asynccontextmanager
async def _hold(path: Path, key: TargetKey, now: Callable[[], float]) -> AsyncIterator[Work]:
    async with StateFile.open(path, now=now) as state:
        target_id = next((each.target_id for each in state.targets() if each.key == key), None)
        if target_id is None:
            raise StateError(f"{path}: it has no target {key}")
        work = await state.take(target_id, is_work=False)
        renewing = asyncio.create_task(_renew(work))
        try:
            yield work
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with suppress(LeaseLostError, StateError):
                await work.release()


async def _renew(work: Work) -> None:
    while True:
        await asyncio.sleep(_RENEW_EVERY_S)
        await work.renew()
