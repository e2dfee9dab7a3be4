"""Requests to acquire and release resources: not too often, and what was answered last."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from batchexport.engine.operations import NotSentError, perform
from batchexport.engine.ports import Fence
from batchexport.engine.resources.kind import ResourceKind
from batchexport.errors import AuthenticationError, CloudError
from batchexport.retry import UNREACHABLE
from batchexport.store import Work

log = logging.getLogger(__name__)

#: A resource that shows no effect of a request for this long is requested again: requests get lost.
ASK_AGAIN_S = 60.0
#: However long a cloud asks to be left alone: what is held does not wait longer for it.
MAX_RETRY_AFTER_S = 300.0

Failures = Mapping[str, CloudError]


class Requests:
    """Sends the requests for the resources of one target, whose states say on disk that they may be sent."""

    def __init__(self, kind: ResourceKind, work: Work, *, is_stopping: Callable[[], bool]) -> None:
        self._kind = kind
        self._work = work
        self._is_stopping = is_stopping
        self._again_at: dict[str, float] = {}  # resource id -> loop time before which it is left alone
        self._failures: Counter[str] = Counter()  # failed requests in a row
        self.answers: dict[str, str] = {}  #: by resource id: the answer to the last request that failed

    def may_ask(self, resource_id: str) -> bool:
        """Whether no request was sent a moment ago."""
        return asyncio.get_running_loop().time() >= self._again_at.get(resource_id, 0.0)

    def done(self, resource_id: str) -> None:
        """What was requested has happened."""
        for memory in (self._again_at, self._failures, self.answers):
            memory.pop(resource_id, None)

    async def acquire(self, resource_ids: Collection[str]) -> Failures:
        """Request these, unless the run is stopping; by id, the errors of those refused for good."""
        failed = await self._send("acquire", resource_ids)
        return {each: error for each, error in failed.items() if self._kind.is_final(each, error)}

    async def release(self, resource_ids: Collection[str]) -> None:
        """Request the release of these; it is repeated, whatever is answered, until they are released."""
        await self._send("release", resource_ids)

    async def _send(self, what: str, resource_ids: Collection[str]) -> Failures:
        if not resource_ids:
            return {}
        loop_now = asyncio.get_running_loop().time()
        # Before it is sent: whatever becomes of the answer, the request may have arrived.
        self._again_at.update(dict.fromkeys(resource_ids, loop_now + ASK_AGAIN_S))
        request = _Request(self._kind, what, list(resource_ids), self._is_stopping)
        try:
            await perform(request, [self._work])
        except NotSentError:
            self._again_at.update(dict.fromkeys(resource_ids, loop_now))
            return {}
        for resource_id, error in request.failures.items():
            self._note(what, resource_id, error)
        return request.failures

    def _note(self, what: str, resource_id: str, error: CloudError) -> None:
        self._failures[resource_id] += 1
        self.answers[resource_id] = str(error)
        extra = {"action": f"{what}_failed", "resource_id": resource_id}
        log.warning("%s: the request was not accepted (%s)", resource_id, error, extra=extra)
        asked_s = min(error.retry_after_s or 0.0, MAX_RETRY_AFTER_S)
        delay_s = max(UNREACHABLE.delay_s(self._failures[resource_id]), asked_s)
        self._again_at[resource_id] = asyncio.get_running_loop().time() + delay_s


class _Request:
    """One operation on some resources. It may be repeated, so that nothing needs to be settled."""

    def __init__(
        self, kind: ResourceKind, what: str, resource_ids: Sequence[str], is_stopping: Callable[[], bool]
    ) -> None:
        self._kind = kind
        self._is_acquiring = what == "acquire"
        self._resource_ids = resource_ids
        self._is_stopping = is_stopping
        self.failures: Failures = {}

    async def record(self) -> None:
        """Their state is on disk: acquiring, or releasing."""

    def may_send(self) -> bool:
        """A run that is stopping acquires nothing more, and releases everything."""
        return not (self._is_acquiring and self._is_stopping())

    async def send(self, fence: Fence) -> Failures:
        request = self._kind.acquire if self._is_acquiring else self._kind.release
        return await request(self._resource_ids, fence)

    async def answered(self, answer: Failures) -> None:
        self.failures = answer

    async def failed(self, error: CloudError) -> None:
        if isinstance(error, AuthenticationError):
            raise error
        self.failures = dict.fromkeys(self._resource_ids, error)
