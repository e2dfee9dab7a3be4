"""Removing images, under the lease of each state file that names them: unfinished ones of failed attempts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from enum import StrEnum
from pathlib import Path

import msgspec

from batchexport.changes import RemovalEnded
from batchexport.engine.operations import NotSentError, perform
from batchexport.engine.ports import Cloud
from batchexport.engine.steps.delete_image import DeleteImage, Record
from batchexport.errors import AuthenticationError, CloudError, LeaseLostError, RefusedError, StateError
from batchexport.model import TargetKey
from batchexport.plan.retention import OurImage, Recorded
from batchexport.store import Abandoned, StoreRef, Work, stores

#: As in a run: a lease lasts 30 s.
_RENEW_EVERY_S = 10.0


class Found(StrEnum):
    """What became of an image that may be removed."""

    GONE = "gone"  #: the cloud removed it already
    RETAINED = "retained"  #: a rule of the job file keeps it
    KEPT = "kept"  #: it is not ours to remove: finished, changed, or not proved ours
    LEFT_OVER = "left over"  #: would be removed
    REMOVED = "removed"
    STUCK = "stuck"  #: could not be removed, or not be read


class Remover:
    """Deletes images that the jobs of some state files name, under their leases."""

    def __init__(
        self, cloud: Cloud, held: dict[StoreRef, Work], *, run_id: str, now: Callable[[], float]
    ) -> None:
        self._cloud = cloud
        self._held = held
        self._run_id = run_id
        self._now = now

    async def remove(self, image_id: str, records: Sequence[Recorded], reason: str) -> tuple[Found, str]:
        """Delete the image; `reason` goes into the note.

        Raises StateError where it cannot be noted first, LeaseLostError where the lease may be another's: the
        image stays then.
        """
        await self.settle(image_id, records, Found.STUCK, "requested again: the outcome is not known")
        deletion = DeleteImage(
            self._cloud,
            image_id,
            [Record(self._held[each.state_path], each.job_id) for each in records],
            run_id=self._run_id,
            why=reason,
            now=self._now,
        )
        try:
            outcome = await perform(deletion, list(self._held.values()))
        except NotSentError:
            reason = "the lease ran out before the request was sent; nothing was removed"
            raise LeaseLostError(reason) from None
        if outcome is None:
            return Found.STUCK, str(deletion.error)
        return Found(outcome), reason if outcome == Found.REMOVED else "gone"

    async def settle(self, image_id: str, records: Sequence[Recorded], found: Found, reason: str) -> None:
        """Note what came of earlier deletions of the image whose outcome is not known."""
        for each in records:
            held = self._held[each.state_path]
            await held.commit(
                RemovalEnded(image_id=image_id, outcome=found.value, reason=reason, at_s=self._now())
            )


@asynccontextmanager
async def removing(
    cloud: Cloud, paths: Sequence[StoreRef], target: TargetKey, *, run_id: str, now: Callable[[], float]
) -> AsyncIterator[Remover]:
    """Takes the leases of the target in these state files; what then deletes images that they name.

    Raises StateInUseError while another process works on one of them, StateError where one cannot be used.
    """
    async with AsyncExitStack() as stack:
        held = {
            path: await stack.enter_async_context(_hold(path, target, now))
            for path in sorted(set(paths), key=str)
        }
        yield Remover(cloud, held, run_id=run_id, now=now)


@asynccontextmanager
async def _hold(path: StoreRef, key: TargetKey, now: Callable[[], float]) -> AsyncIterator[Work]:
    async with stores.open_for_work(path, now=now) as state:
        target_id = next((each.target_id for each in state.targets if each.key == key), None)
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


#: Only an image in one of these is a left-over. An active one is data, whatever we know of it.
UNFINISHED_STATUSES = frozenset({"queued", "saving", "killed"})


class Cleaned(msgspec.Struct, frozen=True, kw_only=True):
    """One abandoned or superseded image and what became of it."""

    image: Abandoned | OurImage
    found: Found
    reason: str


async def find_left_overs(cloud: Cloud, abandoned: Sequence[Abandoned]) -> list[Cleaned]:
    """Which images of ended attempts are unfinished for good."""
    return [await _clean(cloud, image, None, Path()) for image in abandoned]


async def remove_left_overs(
    cloud: Cloud,
    target: TargetKey,
    abandoned: Sequence[Abandoned],
    state_path: StoreRef,
    *,
    run_id: str,
    now: Callable[[], float],
) -> list[Cleaned]:
    """Delete images that are unfinished for good, under the lease of the state file that names them.

    Raises StateInUseError while another process works on it; nothing is deleted then.
    """
    async with removing(cloud, [state_path], target, run_id=run_id, now=now) as remover:
        return [await _clean(cloud, image, remover, state_path) for image in abandoned]


async def _clean(
    cloud: Cloud, abandoned: Abandoned, remover: Remover | None, state_path: StoreRef
) -> Cleaned:
    try:
        found, reason = await _look(cloud, abandoned)
    except CloudError as error:
        found, reason = Found.STUCK, str(error)
    if remover is not None:
        records = [Recorded(state_path=state_path, job_id=abandoned.job_id)]
        if found is Found.LEFT_OVER:
            found, reason = await remover.remove(abandoned.image_id, records, reason)
        elif found is Found.GONE:  # perhaps by a request whose response was lost in a crash
            await remover.settle(abandoned.image_id, records, found, reason)
    return Cleaned(image=abandoned, found=found, reason=reason)


async def _look(cloud: Cloud, abandoned: Abandoned) -> tuple[Found, str]:
    """The volume first: while it is uploading, the image may be being written."""
    volume = await cloud.block_storage.get_volume(abandoned.volume_id)
    image = await cloud.image.get_image(abandoned.image_id)
    if image is None:
        return Found.GONE, "gone"
    if image.status not in UNFINISHED_STATUSES:
        return Found.KEPT, f"{image.status}: only unfinished images are removed"
    if volume is not None and volume.status == "uploading":
        return Found.KEPT, f"{image.status}, and its volume is uploading"
    if (contradiction := await _contradiction(cloud, abandoned)) is not None:
        return Found.KEPT, contradiction
    return Found.LEFT_OVER, image.status


async def _contradiction(cloud: Cloud, abandoned: Abandoned) -> str | None:
    """What lists show against it, for a read by id may be behind; None = nothing, or they are refused."""
    try:
        for image in await cloud.image.images_named(abandoned.image_name):
            if image.image_id == abandoned.image_id and image.status not in UNFINISHED_STATUSES:
                return f"listed as {image.status}: only unfinished images are removed"
        async for page in cloud.block_storage.volumes(status="uploading"):
            if any(volume.volume_id == abandoned.volume_id for volume in page):
                return "its volume is listed as uploading"
    except AuthenticationError:
        raise
    except RefusedError:
        pass
    return None
