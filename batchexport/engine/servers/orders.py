"""Asking for servers to be stopped and started, not too often, and remembering what was answered."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from batchexport.engine.ledger import Ledger
from batchexport.engine.ports import Cloud, Fence
from batchexport.engine.submit import NotSentError
from batchexport.errors import CloudError, RefusedError, SignInError
from batchexport.retry import UNREACHABLE

log = logging.getLogger(__name__)

#: A server that shows nothing of an order for so long is asked again: orders get lost.
ASK_AGAIN_S = 60.0
#: However long a cloud asks to be left alone: a server that is down does not wait for it longer than this.
MAX_RETRY_AFTER_S = 300.0
#: What compute services answer while a server is on its way from one status to another.
CONFLICT = 409

Order = Callable[[Sequence[str], Fence], Awaitable[Mapping[str, CloudError]]]


class ServerOrders:
    """Orders to the compute service of one target. Each may be repeated."""

    def __init__(self, cloud: Cloud, ledger: Ledger, *, hard: bool) -> None:
        self._cloud = cloud
        self._ledger = ledger
        self._hard = hard
        self._again_at: dict[str, float] = {}  # server id -> loop time before which it is left alone
        self._failures: Counter[str] = Counter()  # orders in a row that were not taken
        self.words: dict[str, str] = {}  #: by server id: what the last order that was not taken met

    def may_ask(self, server_id: str) -> bool:
        """Whether it was not asked a moment ago."""
        return asyncio.get_running_loop().time() >= self._again_at.get(server_id, 0.0)

    def done(self, server_id: str) -> None:
        """What was asked of the server has happened."""
        for memory in (self._again_at, self._failures, self.words):
            memory.pop(server_id, None)

    async def stop(self, server_ids: Collection[str]) -> Mapping[str, CloudError]:
        """Ask for these to be stopped; why not, by id, for those of which it was refused for good."""

        def fence() -> None:
            self._fence()
            if self._ledger.stopping.is_set():
                raise NotSentError

        async def send(asked: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
            return await self._cloud.compute.stop_servers(asked, hard=self._hard, fence=fence)

        failed = await self._give(send, list(server_ids), fence)
        return {server_id: error for server_id, error in failed.items() if _is_final(error)}

    async def start(self, server_ids: Collection[str]) -> None:
        """Ask for these to be started. Whatever is answered, they are to be asked again until they are up."""

        async def send(asked: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
            return await self._cloud.compute.start_servers(asked, fence=fence)

        await self._give(send, list(server_ids), self._fence)

    async def _give(self, order: Order, server_ids: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
        if not server_ids:
            return {}
        loop_now = asyncio.get_running_loop().time()
        # Before it is sent: whatever becomes of the answer, the order may have arrived.
        self._again_at.update(dict.fromkeys(server_ids, loop_now + ASK_AGAIN_S))
        try:
            failed = await order(server_ids, fence)
        except NotSentError:
            self._again_at.update(dict.fromkeys(server_ids, loop_now))
            return {}
        except SignInError:
            raise
        except CloudError as error:
            failed = dict.fromkeys(server_ids, error)
        for server_id, why in failed.items():
            self._note(server_id, why)
        return failed

    def _note(self, server_id: str, error: CloudError) -> None:
        self._failures[server_id] += 1
        self.words[server_id] = str(error)
        log.warning("server %s: the order was not taken (%s)", server_id, error)
        asked_s = min(error.retry_after_s or 0.0, MAX_RETRY_AFTER_S)
        delay_s = max(UNREACHABLE.delay_s(self._failures[server_id]), asked_s)
        self._again_at[server_id] = asyncio.get_running_loop().time() + delay_s

    def _fence(self) -> None:
        self._ledger.work.check_owned()
        if not self._ledger.work.fresh:
            raise NotSentError


def _is_final(error: CloudError) -> bool:
    return isinstance(error, RefusedError) and error.status != CONFLICT
