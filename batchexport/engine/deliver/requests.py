"""The requests of deliveries, as operations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from batchexport.engine.operations import NotSentError, perform
from batchexport.engine.ports import Fence
from batchexport.errors import CloudError, TransientError
from batchexport.store import Work

T = TypeVar("T")


class Request:
    """One request. That it may be sent is on disk already: its delivery has started, under an id of ours."""

    def __init__(self, send: Callable[[Fence], Awaitable[object]]) -> None:
        self._send = send
        self.error: CloudError | None = None

    async def record(self) -> None:
        """Nothing: `Started` says it."""

    def may_send(self) -> bool:
        """The fence of the lease is all that forbids it."""
        return True

    async def send(self, fence: Fence) -> object:
        """Send it."""
        return await self._send(fence) or True

    async def answered(self, answer: object) -> None:
        """The delivery records what comes of it, once it was looked at."""

    async def failed(self, error: CloudError) -> None:
        """Keep why."""
        self.error = error


async def send(request: Callable[[Fence], Awaitable[T]], works: Sequence[Work]) -> T | None:
    """Send a request under these leases; what it returns. Raises what the cloud answered."""
    results: list[T] = []

    async def sending(fence: Fence) -> None:
        results.append(await request(fence))

    operation = Request(sending)
    try:
        await perform(operation, works)
    except NotSentError:
        raise TransientError("not sent: the lease ran out meanwhile, and is renewed") from None
    if operation.error is not None:
        raise operation.error
    return results[0] if results else None
