"""The loop of one destination: its deliveries, some at once, each tried again until it is there or refused.

A destination that does not answer holds its own deliveries only: they wait together, and nobody's tries are
counted meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from batchexport.deliveries import (
    DELIVERY_ENDS,
    Delivered,
    Delivery,
    DeliveryState,
    Failed,
    PutBack,
    streams_to,
)
from batchexport.engine.deliver.context import Delivering
from batchexport.engine.deliver.kind import DeliveryKind, NotYetError
from batchexport.errors import (
    BatchExportError,
    CloudError,
    ConfigError,
    FatalError,
    ForbiddenError,
    LeaseLostError,
    QuotaError,
    RefusedError,
    StateError,
    UnreachableError,
)
from batchexport.retry import UNREACHABLE, Backoff

log = logging.getLogger(__name__)

#: Tries of one delivery by one command.
MAX_ATTEMPTS = 5
#: Between two of them.
BETWEEN_TRIES = Backoff(first_s=2.0, cap_s=60.0)
#: How long a destination may be away before its deliveries are left for the next command.
AWAY_FOR_S = 1800.0

Opening = Callable[[], AbstractAsyncContextManager[DeliveryKind]]


class DestinationLoop:
    """Delivers what it is given to one destination, until it is closed and nothing is left."""

    def __init__(self, destination: str, opening: Opening, context: Delivering, *, at_once: int) -> None:
        """`opening` signs in there, or opens the folder. At most `at_once` deliveries are under way;
        transfers of all destinations share the context's limit.
        """
        self._destination = destination
        self._opening = opening
        self._context = context
        self._at_once = at_once
        self._waiting: deque[Delivery] = deque()
        self._under_way: dict[int, Delivery] = {}
        self._closed = False
        self._news = asyncio.Event()
        self._failures = 0  # to reach it, since anything was delivered
        self._away_s = 0.0
        self._unusable: str | None = None  # why nothing can be delivered there by this process

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Give it more to deliver; none of them has ended."""
        self._waiting.extend(deliveries)
        self._news.set()

    def close(self) -> None:
        """Nothing more will be added."""
        self._closed = True
        self._news.set()

    async def run(self) -> None:
        """Deliver. Raises StateError and LeaseLostError, and nothing else of ours."""
        while await self._has_more():
            if self._unusable is not None:
                await self._leave_all(self._unusable)
                continue
            try:
                await self._open_and_deliver()
            except (UnreachableError, ConfigError, FatalError, RefusedError) as error:
                await self._take_back()
                await self._away(error)

    async def _open_and_deliver(self) -> None:
        """Deliver until nothing is left. A slot is kept for its transfers, but not while it is away."""
        async with AsyncExitStack() as stack:
            if streams_to(self._destination):
                stack.enter_context(self._context.transfers.expected(self._destination))
            kind = await stack.enter_async_context(self._opening())
            self._context.progress.waiting.pop(self._destination, None)
            await self._through(kind)

    async def _away(self, error: BatchExportError) -> None:
        """Wait for a destination that does not answer; note of one that lets us do nothing."""
        if not isinstance(error, UnreachableError):
            self._unusable = str(error)
            return
        self._failures += 1
        pause_s = UNREACHABLE.delay_s(self._failures)
        self._away_s += pause_s
        # While rows are still to come, trying on costs nothing, and leaving would be for good.
        if self._closed and self._away_s > AWAY_FOR_S:
            self._unusable = str(error)
            return
        self._context.progress.waiting[self._destination] = str(error)
        extra = {"action": "destination_away", "destination": self._destination}
        log.warning("%s does not answer, its deliveries wait: %s", self._destination, error, extra=extra)
        await self._context.sleep(pause_s)

    async def _has_more(self) -> bool:
        """Whether there is anything to deliver, once that is known."""
        while not self._waiting and not self._closed:
            self._news.clear()
            await self._news.wait()
        return bool(self._waiting)

    async def _through(self, kind: DeliveryKind) -> None:
        """Deliver until nothing is left; raises UnreachableError or FatalError where the destination itself
        fails.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._at_once):
                    group.create_task(self._work(kind))
        except* _AwayError as group_error:
            away = group_error.exceptions[0]
            assert isinstance(away, _AwayError)
            raise away.error from None
        except* (StateError, LeaseLostError) as group_error:
            raise group_error.exceptions[0] from None

    async def _work(self, kind: DeliveryKind) -> None:
        while await self._has_more():
            delivery = self._waiting.popleft()
            self._under_way[delivery.delivery_id] = delivery
            if await _one(kind, delivery, self._context):
                self._failures, self._away_s = 0, 0.0
            del self._under_way[delivery.delivery_id]

    async def _take_back(self) -> None:
        """What was under way when the destination failed waits again, as it is on record now."""
        begun = list(self._under_way)
        self._under_way.clear()
        found = await self._context.book.deliveries(delivery_ids=begun)
        self._waiting.extendleft(reversed([each for each in found if each.state not in DELIVERY_ENDS]))

    async def _leave_all(self, reason: str) -> None:
        leaving = list(self._waiting)
        self._waiting.clear()
        await _leave(leaving, reason, self._context)


class _AwayError(Exception):
    """The destination does not answer, or lets us do nothing."""

    def __init__(self, error: CloudError) -> None:
        super().__init__(str(error))
        self.error = error


async def _one(kind: DeliveryKind, delivery: Delivery, context: Delivering) -> bool:
    """Whether it is delivered."""
    if not context.may_begin(delivery):
        await _leave([delivery], "not begun: it would not end in time", context)
        return False
    began_at = context.now()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            came = await kind.deliver(delivery)
        except (StateError, LeaseLostError):
            raise
        except NotYetError as error:
            await _leave([delivery], str(error), context)
            return False
        except UnreachableError as error:
            raise _AwayError(error) from error
        except (QuotaError, ForbiddenError) as error:  # may be about this one alone
            await _fail(kind, delivery, str(error), context)
            return False
        except FatalError as error:
            raise _AwayError(error) from error
        except (RefusedError, ConfigError) as error:
            await _fail(kind, delivery, str(error), context)
            return False
        except BatchExportError as error:
            if attempt == MAX_ATTEMPTS:
                await _fail(kind, delivery, str(error), context)
                return False
            pause_s = max(BETWEEN_TRIES.delay_s(attempt), getattr(error, "retry_after_s", None) or 0.0)
            put_back = PutBack(
                delivery_id=delivery.delivery_id, reason=str(error), next_at=context.now() + pause_s
            )
            await context.commit(put_back)
            extra = {"action": "delivery_put_back", "delivery_id": delivery.delivery_id}
            log.warning(
                "line %d to %s: %s; tried again", delivery.line, delivery.destination, error, extra=extra
            )
            await context.sleep(pause_s)
            delivery = await _fresh(delivery, context)
        else:
            await _deliver(delivery, came, context)
            if delivery.size_gib:
                context.progress.took.append((delivery.size_gib, context.now() - began_at))
            return True
    return False


async def _deliver(delivery: Delivery, came: Delivered, context: Delivering) -> None:
    await context.commit(came)
    context.progress.delivered += 1
    context.ended(delivery, came)
    extra = {"action": "delivered", "delivery_id": delivery.delivery_id, "result_id": came.result_id}
    log.info(
        "line %d is delivered to %s: %s", delivery.line, delivery.destination, came.verified_by, extra=extra
    )


async def _fail(kind: DeliveryKind, delivery: Delivery, reason: str, context: Delivering) -> None:
    try:
        await kind.abandon(await _fresh(delivery, context))
    except CloudError as error:
        reason = f"{reason}; what is half done there could not be taken away: {error}"
    await context.commit(Failed(delivery_id=delivery.delivery_id, reason=reason, at_s=context.now()))
    context.progress.failed += 1
    context.ended(delivery, DeliveryState.FAILED)
    extra = {"action": "delivery_failed", "delivery_id": delivery.delivery_id}
    log.error("line %d to %s failed: %s", delivery.line, delivery.destination, reason, extra=extra)


async def _leave(deliveries: Sequence[Delivery], reason: str, context: Delivering) -> None:
    """Leave them for later: what is half done at the destination stays on record, and is gone on with."""
    changes = [
        PutBack(delivery_id=each.delivery_id, reason=reason, next_at=context.now()) for each in deliveries
    ]
    await context.commit(*changes)
    context.progress.failed += len(deliveries)
    for each in deliveries:
        context.ended(each, DeliveryState.PENDING)
        extra = {"action": "delivery_left", "delivery_id": each.delivery_id}
        log.warning("line %d to %s is left for later: %s", each.line, each.destination, reason, extra=extra)


async def _fresh(delivery: Delivery, context: Delivering) -> Delivery:
    """The delivery as it is on record now."""
    found = await context.book.deliveries(delivery_ids=[delivery.delivery_id])
    return found[0] if found else delivery
