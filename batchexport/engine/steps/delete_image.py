"""The deletion of an image of ours, as an operation: a resource that is only to be released."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from batchexport.changes import RemovalEnded
from batchexport.engine.ports import Cloud, Fence
from batchexport.errors import CloudError, NotFoundError, OutcomeUnknownError
from batchexport.store import Work

#: What is noted of a deletion.
REMOVED, GONE, STUCK = "removed", "gone", "stuck"


class Record(msgspec.Struct, frozen=True):
    """A job that names the image, in the store of its target."""

    work: Work
    job_id: int


class DeleteImage:
    """The request to delete one image, noted in every store that names it. It may be repeated."""

    def __init__(
        self,
        cloud: Cloud,
        image_id: str,
        records: Sequence[Record],
        *,
        run_id: str,
        why: str,
        now: Callable[[], float],
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        """`run_id`: the run for which it is deleted."""
        self._cloud = cloud
        self._image_id = image_id
        self._records = records
        self._run_id = run_id
        self._why = why
        self._now = now
        self._numbers: list[int] = []  # of the notes, as the records
        self.may_send = may_send
        self.error: CloudError | None = None  #: why it failed

    async def record(self) -> None:
        """Note that it may have been requested, everywhere."""
        for each in self._records:
            asking = each.work.images.intend_removal(
                each.job_id, self._image_id, run_id=self._run_id, at_s=self._now()
            )
            self._numbers.append(await asking)

    async def send(self, fence: Fence) -> str:
        """One request."""
        try:
            await self._cloud.image.delete_image(self._image_id, fence=fence)
        except NotFoundError:
            return GONE
        return REMOVED

    async def answered(self, answer: str) -> None:
        """Note that it is removed, or was gone."""
        await self._note(answer, self._why if answer == REMOVED else "gone")

    async def failed(self, error: CloudError) -> None:
        """Note the refusal; where no answer came, the note stays open, for the next look to settle."""
        self.error = error
        if not isinstance(error, OutcomeUnknownError):
            await self._note(STUCK, str(error))

    async def _note(self, outcome: str, reason: str) -> None:
        for each, number in zip(self._records, self._numbers, strict=True):
            await each.work.commit(
                RemovalEnded(operation_id=number, outcome=outcome, reason=reason, at_s=self._now())
            )
