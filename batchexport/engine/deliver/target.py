"""The deliveries of one target, under a lease of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from batchexport.deliveries import Delivery
from batchexport.engine.deliver.context import Delivering
from batchexport.engine.deliver.feed import Feed, OpeningOf, Row, key_of
from batchexport.errors import BatchExportError, LeaseLostError, StateError
from batchexport.model import TargetKey
from batchexport.store import StoreRef, Work, stores

#: As in a run: a lease lasts 30 s.
_RENEW_EVERY_S = 10.0


@asynccontextmanager
async def holding(path: StoreRef, key: TargetKey, *, now: Callable[[], float]) -> AsyncIterator[Work]:
    """The target of a state file under its lease, renewed until the context ends.

    Raises StateInUseError while another process works on it. Where the lease is lost, what runs inside the
    context is cancelled, and LeaseLostError raised.
    """
    async with stores.open_for_work(path, now=now) as state:
        target_id = next((each.target_id for each in state.targets if each.key == key), None)
        if target_id is None:
            raise StateError(f"{path}: it has no target {key}")
        work = await state.take(target_id, is_work=False)
        inside = asyncio.current_task()
        assert inside is not None
        lost: list[BatchExportError] = []

        async def renew() -> None:
            try:
                while True:
                    await asyncio.sleep(_RENEW_EVERY_S)
                    await work.renew()
            except BatchExportError as error:
                lost.append(error)
                inside.cancel()

        renewing = asyncio.create_task(renew())
        try:
            yield work
        except asyncio.CancelledError:
            if not lost:
                raise
            inside.uncancel()
            raise lost[0] from None
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with suppress(LeaseLostError, StateError):
                await work.release()


async def deliver_rows(
    rows: Sequence[Row], opening_of: OpeningOf, context: Delivering, *, at_once: int
) -> Sequence[Delivery]:
    """Deliver the images of these rows; what stands on record of them afterwards.

    Those that failed before are tried again.
    """
    feed = Feed(opening_of, context, at_once=at_once, retry_failed=True)
    for row in rows:
        feed.add(row)
    feed.close()
    await feed.run()
    wanted = {(row.job_id, row.image_id, each) for row in rows for each in row.destinations}
    return [each for each in await context.book.deliveries() if key_of(each) in wanted]
