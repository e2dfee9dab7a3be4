"""Deleting an image of ours: noted before the request and after, under the lease of each file naming it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from enum import StrEnum
from pathlib import Path

from batchexport.engine.ports import Cloud
from batchexport.errors import CloudError, LeaseLostError, NotFoundError, StateError
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
        """Delete the image; `words` says why, for the note. Raises StateError where it cannot be noted first:
        then it stays.
        """
        await self.settle(image_id, records, Found.STUCK, "asked again: the answer is not known")
        notes = [(self._held[each.state_path], await self._note(each, image_id)) for each in records]
        try:
            await self._cloud.image.delete_image(image_id, fence=self._fence)
            found = Found.REMOVED
        except NotFoundError:
            found, words = Found.GONE, "gone"
        except CloudError as error:
            found, words = Found.STUCK, str(error)
        for held, number in notes:
            await held.removals.answered(number, found.value, words, at_s=self._now())
        return found, words

    async def settle(self, image_id: str, records: Sequence[Recorded], found: Found, words: str) -> None:
        """Note what came of earlier requests to delete the image whose answer nobody knows."""
        for each in records:
            held = self._held[each.state_path]
            await held.removals.settle(image_id, found.value, words, at_s=self._now())

    async def _note(self, record: Recorded, image_id: str) -> int:
        held = self._held[record.state_path]
        return await held.removals.asked(record.job_id, image_id, run_id=self._run_id, at_s=self._now())

    def _fence(self) -> None:
        for held in self._held.values():
            held.check_owned()
            if not held.fresh:
                raise LeaseLostError("the lease ran out before the request was sent; nothing was removed")


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
