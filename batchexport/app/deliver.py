"""Deliver the images of a state file: share, copy, save, make volumes; and take up what was begun."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
from msgspec.structs import replace

from batchexport.app.connections import visits
from batchexport.app.console import Console
from batchexport.app.destinations import as_delivery_cloud, check_clouds, opening, with_room
from batchexport.app.run_deliveries import tell_progress
from batchexport.config import CloudSettings, Settings
from batchexport.config.destination import Destination, DestinationKind, check_destinations
from batchexport.deliveries import Delivery, DeliveryState
from batchexport.engine.deliver import (
    Delivering,
    Dropped,
    Progress,
    Row,
    deliver_rows,
    drop_sources,
    holding,
)
from batchexport.engine.deliver.ports import DeliveryCloud
from batchexport.engine.deliver.source import source_image
from batchexport.errors import CloudError, ConfigError
from batchexport.model import JobState, TargetKey
from batchexport.objects import open_place
from batchexport.report.text import count_of
from batchexport.store import DeliveryBook, JobReport, StoreRef, read_deliveries, stores
from batchexport.transfer import Bandwidth, TransferSlots
from batchexport.version import __version__


class DeliverOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How images are delivered."""

    destinations: Sequence[Destination] = ()  #: of every row, in this order
    max_transfers: int = 4  #: streams at once, of all destinations together
    bandwidth: float | None = None  #: bytes per second of all streams together; None = not limited
    drop_source: bool = False  #: delete the source image of what is delivered and verified


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What stands on record of the deliveries of a state file."""

    deliveries: Sequence[Delivery]
    dropped: Sequence[Dropped] = ()

    @property
    def open(self) -> int:
        """How many are not delivered."""
        return sum(each.state is not DeliveryState.DELIVERED for each in self.deliveries)

    @property
    def kept(self) -> int:
        """How many source images were to go and stayed."""
        return sum(not each.is_gone for each in self.dropped)


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of one delivery, as far as the clouds tell now."""

    line: int
    image_id: str
    destination: str
    size_bytes: int | None
    problem: str | None  #: None = nothing is known that stands against it


def deliveries_on_record(state_path: StoreRef) -> Outcome:
    """What stands on record, without asking a cloud. Raises StateError."""
    with stores.read(state_path) as reader:
        return Outcome(deliveries=read_deliveries(reader))


async def deliver(
    state_path: StoreRef, settings: Settings, access: CloudSettings, options: DeliverOptions, console: Console
) -> Outcome:
    """Deliver the image of every row that succeeded. Takes up what an earlier process began.

    Raises ConfigError, StateError, and CloudError where the cloud of the images cannot be reached.
    """
    check_destinations(options.destinations)
    await check_clouds(options.destinations, access)
    by_target = _rows_by_target(state_path)
    images = count_of(sum(map(len, by_target.values())), "image")
    console.info(f"{images} to {count_of(len(options.destinations), 'destination')}")
    settings = replace(settings, limits=with_room(settings.limits, options.max_transfers))
    deliveries: list[Delivery] = []
    dropped: list[Dropped] = []
    async with visits(by_target, access, settings, state_path=state_path) as connect:
        for target, jobs in by_target.items():
            async with holding(state_path, target, now=time.time) as work, connect(target, None) as source:
                context = Delivering(
                    work=work,
                    book=DeliveryBook(work),
                    source=as_delivery_cloud(source),
                    transfers=TransferSlots(options.max_transfers),
                    bandwidth=Bandwidth(options.bandwidth),
                    progress=Progress(),
                    version=__version__,
                    now=time.time,
                )
                rows = [_row(job, options) for job in jobs]
                count = len(rows) * len(options.destinations)
                telling = asyncio.create_task(tell_progress(context.progress, console, count=count))
                opening_of = partial(opening, limits=settings.limits, access=access)
                try:
                    deliveries += await deliver_rows(
                        rows, opening_of, context, at_once=max(options.max_transfers, 4)
                    )
                    if options.drop_source:
                        dropped += await drop_sources(source, rows, opening_of, context)
                finally:
                    telling.cancel()
                    await asyncio.gather(telling, return_exceptions=True)
    return Outcome(deliveries=deliveries, dropped=dropped)


async def forecast(
    state_path: StoreRef, settings: Settings, access: CloudSettings, options: DeliverOptions
) -> list[Forecast]:
    """What stands against each delivery now: images that cannot be read, places without room.

    Raises ConfigError, StateError, CloudError.
    """
    check_destinations(options.destinations)
    await check_clouds(options.destinations, access)
    by_target = _rows_by_target(state_path)
    results = []
    with stores.read(state_path) as reader:
        run_id = reader.run.run_id
    async with visits(by_target, access, settings, state_path=state_path) as connect:
        for target, jobs in by_target.items():
            async with connect(target, None) as source:
                for job in jobs:
                    results += await _forecast(as_delivery_cloud(source), job, options, run_id)
    return results


async def _forecast(
    source: DeliveryCloud, job: JobReport, options: DeliverOptions, run_id: str
) -> list[Forecast]:
    assert job.image_id is not None
    size, problem, visibility = None, None, ""
    try:
        image = await source_image(source, job.image_id)
        size, visibility = image.size, image.visibility
    except CloudError as error:
        problem = str(error)
    results = []
    for each in options.destinations:
        found = problem
        if found is None and each.kind is DestinationKind.PROJECT and visibility == "public":
            found = "the image is public: it has no members"
        if found is None and each.kind is DestinationKind.FILES and size is not None:
            async with open_place(each.url(run_id=run_id)) as place:
                found = await place.check(size)
        results.append(
            Forecast(
                line=job.line, image_id=job.image_id, destination=each.text, size_bytes=size, problem=found
            )
        )
    return results


def _rows_by_target(state_path: StoreRef) -> Mapping[TargetKey, Sequence[JobReport]]:
    """The rows with an image, by their targets. Raises ConfigError where there are none."""
    found: dict[TargetKey, list[JobReport]] = {}
    with stores.read(state_path) as reader:
        for job in reader.jobs({JobState.SUCCEEDED}):
            if job.image_id is not None:
                found.setdefault(job.target, []).append(job)
    if not found:
        raise ConfigError(
            f"{state_path}: no row has an image yet", hint="run the list first; `status` shows where it is"
        )
    return found


def _row(job: JobReport, options: DeliverOptions) -> Row:
    assert job.image_id is not None
    return Row(
        job_id=job.job_id,
        image_id=job.image_id,
        destinations=[each.text for each in options.destinations],
    )
