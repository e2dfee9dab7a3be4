"""What destinations of deliveries will refuse, asked of them before a run; nothing is sent or kept there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from batchexport.app.destinations import check_clouds, connected
from batchexport.config import CloudSettings, Limits
from batchexport.config.destination import Destination, DestinationKind, read_destination
from batchexport.errors import BatchExportError, CloudError
from batchexport.objects import open_place
from batchexport.plan.deliveries import PlannedDelivery

_GIB = 2**30
#: Stands for the run's id, which is not known yet, in URLs.
_SOME_RUN = "20000101-000000"


async def check_planned(
    planned: Mapping[str, PlannedDelivery], limits: Limits, access: CloudSettings
) -> None:
    """Note of each destination what it will refuse. Raises ConfigError for one that cannot be any."""
    found = {text: read_destination(text) for text in planned}
    await check_clouds(list(found.values()), access)
    await asyncio.gather(*(_check(found[text], planned[text], limits, access) for text in found))


async def _check(
    destination: Destination, planned: PlannedDelivery, limits: Limits, access: CloudSettings
) -> None:
    try:
        await _ask(destination, planned, limits, access)
    except BatchExportError as error:
        planned.problems.append(str(error))


async def _ask(
    destination: Destination, planned: PlannedDelivery, limits: Limits, access: CloudSettings
) -> None:
    async with AsyncExitStack() as stack:
        if destination.kind is DestinationKind.FILES:
            place = await stack.enter_async_context(open_place(destination.url(run_id=_SOME_RUN)))
            if (problem := await place.check(0)) is not None:
                planned.problems.append(problem)
            elif (problem := await place.check(planned.gib * _GIB)) is not None:
                planned.notes.append(f"{problem} if no image is smaller than its volume")
            return
        name = destination.accept if destination.kind is DestinationKind.PROJECT else destination.name
        if name is None:
            return
        there = await stack.enter_async_context(connected(name, limits, access))
        if destination.kind is DestinationKind.CLOUD:
            planned.check_formats(await there.image.data.disk_formats())
        elif destination.kind is DestinationKind.VOLUME:
            try:
                planned.check_room(await there.copies.get_storage_quota(), destination.volume_type)
            except CloudError as error:
                planned.notes.append(f"its quotas cannot be read: {error}")
