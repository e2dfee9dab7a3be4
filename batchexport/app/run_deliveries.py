"""What a run delivers: by its settings, its list, and what its state file notes of earlier processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from batchexport.app.allowance import UNKNOWN_PACE
from batchexport.app.console import Console
from batchexport.config import CloudSettings, Settings
from batchexport.config.destination import check_destinations, read_destination
from batchexport.deliveries import Delivery, DeliveryPolicy, DeliveryState
from batchexport.errors import ConfigError
from batchexport.report.text import count_of, duration
from batchexport.scheduling.throughput import MIN_EXPORTS, OpenHours, fit_throughput
from batchexport.store import (
    Reader,
    StoreRef,
    count_deliveries,
    read_deliveries,
    read_policy,
    read_row_destinations,
    stores,
)

if TYPE_CHECKING:  # most runs deliver nothing, and need not load it
    from batchexport.engine.deliver import Progress, RunDeliveries

#: Between two lines of progress.
PROGRESS_EVERY_S = 15.0
#: Deliveries of this process that tell its pace: the newest ones.
_NEWEST = 1000
_GIB = 2**30


async def deliveries_of(
    state_path: StoreRef,
    settings: Settings,
    access: CloudSettings,
    *,
    hours: OpenHours | None,
    retry_failed: bool,
) -> RunDeliveries | None:
    """What a run of this state file is to deliver; None = nothing.

    Raises ConfigError where a destination cannot be one: a cloud that clouds.yaml does not define, a list
    in which a volume comes before its image, `--drop-source-image` without a destination.
    """
    with stores.read(state_path) as reader:
        noted, of_rows = read_policy(reader), read_row_destinations(reader)
        policy = _policy(settings, noted, of_rows)
        if policy is None:
            return None
        is_due = policy != noted or _is_due(reader, retry_failed=retry_failed)
        took = _took(read_deliveries(reader))
    from batchexport.app.destinations import as_delivery_cloud, check_clouds, opening, with_room
    from batchexport.engine.deliver import Progress, RunDeliveries
    from batchexport.transfer import Bandwidth, TransferSlots
    from batchexport.version import __version__

    check_destinations([read_destination(each) for each in policy.destinations])
    texts = dict.fromkeys((*policy.destinations, *of_rows))
    await check_clouds([read_destination(each) for each in texts], access)
    wanted, progress = settings.deliveries, Progress()
    return RunDeliveries(
        policy=policy,
        is_due=is_due,
        opening_of=partial(opening, limits=with_room(settings.limits, wanted.max_transfers), access=access),
        as_source=as_delivery_cloud,
        transfers=TransferSlots(wanted.max_transfers),
        at_once=max(wanted.max_transfers, 4),
        bandwidth=Bandwidth(wanted.bandwidth),
        version=__version__,
        retry_failed=retry_failed,
        may_begin=may_begin(hours, took, progress),
        progress=progress,
    )


def _policy(
    settings: Settings, noted: DeliveryPolicy | None, of_rows: Sequence[str]
) -> DeliveryPolicy | None:
    """The policy that is told now, or else the one that is noted; None = nothing is to be delivered."""
    told = settings.deliveries
    if told.deliver is None and noted is None and not of_rows:
        if told.drop_source:
            raise ConfigError(
                "--drop-source-image without a destination: the images would be nowhere",
                hint="name one with --deliver",
            )
        return None
    before = noted or DeliveryPolicy()
    destinations = before.destinations if told.deliver is None else told.deliver
    drop_source = told.drop_source
    if drop_source is None:
        drop_source = before.drop_source and told.deliver in (None, before.destinations)
    return DeliveryPolicy(destinations=destinations, drop_source=drop_source)


def _is_due(reader: Reader, *, retry_failed: bool) -> bool:
    """Whether rows that have their image are not delivered yet."""
    counts = count_deliveries(reader)
    return counts is not None and bool(counts.open or counts.undropped or (retry_failed and counts.failed))


def _took(deliveries: Sequence[Delivery]) -> list[tuple[int, float]]:
    """GiB and seconds of the deliveries that are on record."""
    return [
        (each.size_gib, each.ended_at - each.started_at)
        for each in deliveries
        if each.state is DeliveryState.DELIVERED and each.size_gib and each.started_at and each.ended_at
    ]


def may_begin(
    hours: OpenHours | None, took: Sequence[tuple[int, float]], progress: Progress
) -> Callable[[Delivery], bool]:
    """Whether a delivery is expected to end while somebody watches it."""
    if hours is None:
        return lambda delivery: True

    def fits(delivery: Delivery) -> bool:
        now, seen = time.time(), [*took[-_NEWEST:], *progress.took[-_NEWEST:]]
        pace = UNKNOWN_PACE
        if len(seen) >= MIN_EXPORTS or hours.throughput is not UNKNOWN_PACE:
            pace = fit_throughput(seen)
        lasts_s = pace.expected_s(delivery.size_gib or 0)
        return now < hours.closes_at and now + lasts_s <= hours.watched_until

    return fits


@asynccontextmanager
async def progress_told(deliveries: RunDeliveries | None, console: Console) -> AsyncIterator[None]:
    """Report the progress of these every now and then, while the context lasts."""
    if deliveries is None:
        yield
        return
    task = asyncio.create_task(tell_progress(deliveries.progress, console))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def tell_progress(progress: Progress, console: Console, *, count: int | None = None) -> None:
    """Report the progress for ever; nothing while nothing is under way. `count`: of all deliveries."""
    before = 0
    while True:
        await asyncio.sleep(PROGRESS_EVERY_S)
        rate = (progress.sent_bytes - before) / PROGRESS_EVERY_S
        before = progress.sent_bytes
        if count is not None or progress.under_way or progress.waiting:
            console.info(progress_line(progress, rate, count=count))


def progress_line(progress: Progress, rate: float, *, count: int | None = None) -> str:
    """How far the transfers are; `rate` in bytes per second."""
    so_far = sum(each for each, _ in progress.under_way.values())
    in_all = sum(each for _, each in progress.under_way.values())
    line = f"{progress.delivered}{'' if count is None else f' of {count}'} delivered"
    if progress.under_way:
        line += f"; {count_of(len(progress.under_way), 'stream')}"
        line += f" at {so_far / _GIB:.2f} of {in_all / _GIB:.2f} GiB"
        line += f", {rate / 2**20:.1f} MiB/s"
        if rate:
            line += f", {duration((in_all - so_far) / rate)} left for these"
    for destination, why in progress.waiting.items():
        line += f"; {destination} does not answer: {why}"
    return line
