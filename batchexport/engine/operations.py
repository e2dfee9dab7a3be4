"""Operations: requests that change the cloud. `perform` is the only place that sends one.

Record, fence, send, record, settle: the intent is on disk before anything is sent; the fence refuses once the
lease may be another's; the answer is recorded; and what got no answer is settled before anything else touches
its subject. How depends on the operation: an export is looked for (`settle`), a stop, a start and a deletion
are repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from batchexport.engine.ports import Fence
from batchexport.errors import CloudError
from batchexport.store import Work

AnswerT = TypeVar("AnswerT")


class NotSentError(Exception):
    """The fence held a request back: nothing was sent."""


class Operation(Protocol[AnswerT]):
    """One request that changes the cloud, sent once by `perform`, which calls these in this order."""

    async def record(self) -> None:
        """Make the intent durable, where it is not yet. Raises StateError where it cannot."""
        ...

    def may_send(self) -> bool:
        """Asked with the connection in hand, right before the first byte. False = NotSentError."""
        ...

    async def send(self, fence: Fence) -> AnswerT:
        """Send it: one request, or one for each subject, each behind the fence. Raises CloudError."""
        ...

    async def answered(self, answer: AnswerT) -> None:
        """Record what came of it."""
        ...

    async def failed(self, error: CloudError) -> None:
        """Record that it failed, or is in doubt."""
        ...


async def perform(
    operation: Operation[AnswerT], works: Sequence[Work], *, fresh: bool = True
) -> AnswerT | None:
    """The answer to the operation; None where it failed, which the operation has recorded.

    `works` are the targets whose leases must be live when it is sent: certainly live if `fresh`, else not
    known to be lost. Raises NotSentError where one is not, and what `record` raises.
    """
    await operation.record()

    def fence() -> None:
        for work in works:
            work.check_owned()
        if (fresh and not all(work.fresh for work in works)) or not operation.may_send():
            raise NotSentError

    try:
        answer = await operation.send(fence)
    except CloudError as error:
        await operation.failed(error)
        return None
    await operation.answered(answer)
    return answer
