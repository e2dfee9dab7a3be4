"""The loop of one destination: its deliveries, some at once, each tried again until it is there or refused.

A destination that does not answer holds its own deliveries only: they wait together, and nobody's tries are
counted meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from batchexport.deliveries import Delivered, Delivery, DeliveryState, Failed, PutBack
from batchexport.engine.deliver.context import Delivering
from batchexport.engine.deliver.kind import DeliveryKind
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


async def deliver_all(
    destination: str, opening: Opening, deliveries: Sequence[Delivery], context: Delivering, *, at_once: int
) -> None:
    """Deliver these to one destination. Raises StateError and LeaseLostError, and nothing else of ours.

    `opening` signs in there, or opens the folder. At most `at_once` are under way; transfers of all
    destinations share the context's limit.
    """
    away_s = 0.0
    failures = 0
    open_ones = [each for each in deliveries if each.state is not DeliveryState.DELIVERED]
    while open_ones and not context.stop.is_set():
        try:
            async with opening() as kind:
                context.progress.waiting.pop(destination, None)
                await _through(kind, open_ones, context, at_once=at_once)
            break
        except (UnreachableError, ConfigError, FatalError, RefusedError) as error:
            open_ones = await _still_open(open_ones, context)
            failures += 1
            pause_s = UNREACHABLE.delay_s(failures)
            away_s += pause_s
            if not isinstance(error, UnreachableError) or away_s > AWAY_FOR_S:
                await _leave(open_ones, str(error), context)
                break
            context.progress.waiting[destination] = str(error)
            extra = {"action": "destination_away", "destination": destination}
            log.warning("%s does not answer, its deliveries wait: %s", destination, error, extra=extra)
            await context.sleep(pause_s)
    for delivery in deliveries:
        context.ended(delivery, None)  # for those that wait for one that was not begun


class _AwayError(Exception):
    """The destination does not answer, or lets us do nothing."""

    def __init__(self, error: CloudError) -> None:
        super().__init__(str(error))
        self.error = error


async def _through(
    kind: DeliveryKind, deliveries: Sequence[Delivery], context: Delivering, *, at_once: int
) -> None:
    """Each of them; raises UnreachableError or FatalError where the destination itself fails."""
    places = asyncio.Semaphore(at_once)

    async def one(delivery: Delivery) -> None:
        async with places:
            if not context.stop.is_set():
                await _one(kind, delivery, context)

    try:
        async with asyncio.TaskGroup() as group:
            for delivery in deliveries:
                group.create_task(one(delivery))
    except* _AwayError as group_error:
        away = group_error.exceptions[0]
        assert isinstance(away, _AwayError)
        raise away.error from None
    except* (StateError, LeaseLostError) as group_error:
        raise group_error.exceptions[0] from None


async def _one(kind: DeliveryKind, delivery: Delivery, context: Delivering) -> None:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            came = await kind.deliver(delivery)
        except (StateError, LeaseLostError):
            raise
        except UnreachableError as error:
            raise _AwayError(error) from error
        except (QuotaError, ForbiddenError) as error:  # may be about this one alone
            await _fail(kind, delivery, str(error), context)
            return
        except FatalError as error:
            raise _AwayError(error) from error
        except (RefusedError, ConfigError) as error:
            await _fail(kind, delivery, str(error), context)
            return
        except BatchExportError as error:
            if attempt == MAX_ATTEMPTS:
                await _fail(kind, delivery, str(error), context)
                return
            pause_s = max(BETWEEN_TRIES.delay_s(attempt), getattr(error, "retry_after_s", None) or 0.0)
            put_back = PutBack(
                delivery_id=delivery.delivery_id, reason=str(error), next_at=context.now() + pause_s
            )
            await context.book.commit(put_back)
            extra = {"action": "delivery_put_back", "delivery_id": delivery.delivery_id}
            log.warning(
                "line %d to %s: %s; tried again", delivery.line, delivery.destination, error, extra=extra
            )
            await context.sleep(pause_s)
            delivery = await _fresh(delivery, context)
        else:
            await _deliver(delivery, came, context)
            return


async def _deliver(delivery: Delivery, came: Delivered, context: Delivering) -> None:
    await context.book.commit(came)
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
    await context.book.commit(Failed(delivery_id=delivery.delivery_id, reason=reason, at_s=context.now()))
    context.progress.failed += 1
    context.ended(delivery, None)
    extra = {"action": "delivery_failed", "delivery_id": delivery.delivery_id}
    log.error("line %d to %s failed: %s", delivery.line, delivery.destination, reason, extra=extra)


async def _leave(deliveries: Sequence[Delivery], reason: str, context: Delivering) -> None:
    """The destination cannot be used: what is half done there stays on record, and is gone on with."""
    changes = [
        PutBack(delivery_id=each.delivery_id, reason=reason, next_at=context.now()) for each in deliveries
    ]
    await context.book.commit(*changes)
    context.progress.failed += len(deliveries)


async def _fresh(delivery: Delivery, context: Delivering) -> Delivery:
    """The delivery as it is on record now."""
    found = {each.delivery_id: each for each in await context.book.deliveries()}
    return found.get(delivery.delivery_id, delivery)


async def _still_open(deliveries: Sequence[Delivery], context: Delivering) -> list[Delivery]:
    found = {each.delivery_id: each for each in await context.book.deliveries()}
    ended = (DeliveryState.DELIVERED, DeliveryState.FAILED)
    now = [found.get(each.delivery_id, each) for each in deliveries]
    return [each for each in now if each.state not in ended]
