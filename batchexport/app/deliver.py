"""Deliver the images of a state file: share, copy, save, make volumes; and take up what was begun."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec
from msgspec.structs import replace

from batchexport import cloud
from batchexport.app.connections import visits
from batchexport.app.console import Console
from batchexport.cloud.http.rate_limiter import RateLimiter
from batchexport.config import CloudSettings, Limits, Settings
from batchexport.config.destination import Destination, DestinationKind, check_destinations
from batchexport.deliveries import Delivery, DeliveryState
from batchexport.engine.deliver import (
    CopyImage,
    CreateVolume,
    Delivering,
    DeliveryKind,
    Dropped,
    Progress,
    Row,
    SaveImage,
    ShareImage,
    deliver_rows,
    drop_sources,
    holding,
)
from batchexport.engine.deliver.ports import DeliveryCloud
from batchexport.engine.deliver.source import source_image
from batchexport.errors import CloudError, ConfigError
from batchexport.model import JobState, TargetKey
from batchexport.objects import open_place
from batchexport.report.text import count_of, duration
from batchexport.store import DeliveryBook, JobReport, StoreRef, read_deliveries, stores
from batchexport.transfer import Bandwidth
from batchexport.version import __version__

#: Between two lines of progress.
PROGRESS_EVERY_S = 15.0
GIB = 2**30


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
    await _check_clouds(options.destinations, access)
    by_target = _rows_by_target(state_path)
    images = count_of(sum(map(len, by_target.values())), "image")
    console.info(f"{images} to {count_of(len(options.destinations), 'destination')}")
    settings = replace(settings, limits=_with_room(settings.limits, options.max_transfers))
    deliveries: list[Delivery] = []
    dropped: list[Dropped] = []
    async with visits(by_target, access, settings, state_path=state_path) as connect:
        for target, jobs in by_target.items():
            async with holding(state_path, target, now=time.time) as work, connect(target, None) as source:
                context = Delivering(
                    work=work,
                    book=DeliveryBook(work),
                    source=_as_delivery_cloud(source),
                    transfers=asyncio.Semaphore(options.max_transfers),
                    bandwidth=Bandwidth(options.bandwidth),
                    progress=Progress(),
                    version=__version__,
                    now=time.time,
                )
                rows = [_row(job, options) for job in jobs]
                openings = {
                    each.text: partial(_open, each, settings.limits, access) for each in options.destinations
                }
                telling = asyncio.create_task(_tell(context, len(rows) * len(openings), console))
                try:
                    deliveries += await deliver_rows(
                        rows, openings, context, at_once=max(options.max_transfers, 4)
                    )
                    if options.drop_source:
                        dropped += await drop_sources(source, rows, openings, context)
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
    await _check_clouds(options.destinations, access)
    by_target = _rows_by_target(state_path)
    results = []
    with stores.read(state_path) as reader:
        run_id = reader.run.run_id
    async with visits(by_target, access, settings, state_path=state_path) as connect:
        for target, jobs in by_target.items():
            async with connect(target, None) as source:
                for job in jobs:
                    results += await _forecast(_as_delivery_cloud(source), job, options, run_id)
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


@asynccontextmanager
async def _open(
    destination: Destination, limits: Limits, access: CloudSettings, context: Delivering
) -> AsyncIterator[DeliveryKind]:
    """The destination, signed in to or opened."""
    text = destination.text
    match destination.kind:
        case DestinationKind.FILES:
            async with open_place(destination.url(run_id=context.run_id)) as place:
                yield SaveImage(text, place, context)
        case DestinationKind.PROJECT if destination.accept is None:
            yield ShareImage(text, destination.name, context)
        case DestinationKind.PROJECT:
            async with _cloud(destination.accept or "", limits, access) as receiver:
                if receiver.facts.project_id not in (None, destination.name):
                    found = receiver.facts.project_id
                    raise ConfigError(f"{text}: the cloud {destination.accept} signs in to project {found}")
                yield ShareImage(text, destination.name, context, receiver=receiver)
        case DestinationKind.CLOUD:
            async with _cloud(destination.name, limits, access) as there:
                yield CopyImage(text, there, context)
        case DestinationKind.VOLUME:
            async with _cloud(destination.name, limits, access) as there:
                yield CreateVolume(
                    text,
                    there,
                    context,
                    copy=f"cloud:{destination.name}",
                    volume_type=destination.volume_type,
                )


@asynccontextmanager
async def _cloud(name: str, limits: Limits, access: CloudSettings) -> AsyncIterator[cloud.Cloud]:
    """A cloud of clouds.yaml, with a rate limit of its own."""
    settings = CloudSettings(
        cloud=name, sign_in_timeout_s=access.sign_in_timeout_s, clouds_file=access.clouds_file
    )
    limiter = RateLimiter(limits.requests_per_second)
    async with cloud.connect(TargetKey(cloud=name), settings, limits=limits, limiter=limiter) as client:
        yield client


async def _check_clouds(destinations: Sequence[Destination], access: CloudSettings) -> None:
    """Raise ConfigError for a cloud that clouds.yaml does not define, and for a place that cannot be."""
    from batchexport.cloud.connection import load_account

    for each in destinations:
        if each.kind is DestinationKind.FILES:
            open_place(each.url(run_id="20000101-000000"))
            continue
        name = each.accept if each.kind is DestinationKind.PROJECT else each.name
        if name is not None:
            settings = CloudSettings(cloud=name, clouds_file=access.clouds_file)
            await asyncio.to_thread(load_account, TargetKey(cloud=name), settings)


def _as_delivery_cloud(source: object) -> DeliveryCloud:
    """The client of a cloud has what deliveries need; fakes of tests may not."""
    if not isinstance(source, cloud.Cloud):
        raise ConfigError("this cloud hands out no images")
    return source


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


def _with_room(limits: Limits, transfers: int) -> Limits:
    """Connections for the streams beside those for requests."""
    return replace(limits, concurrency=limits.concurrency + 2 * transfers)


async def _tell(context: Delivering, count: int, console: Console) -> None:
    """Report the progress every now and then."""
    progress = context.progress
    before = 0
    while True:
        await asyncio.sleep(PROGRESS_EVERY_S)
        rate = (progress.sent_bytes - before) / PROGRESS_EVERY_S
        before = progress.sent_bytes
        so_far = sum(each for each, _ in progress.under_way.values())
        in_all = sum(each for _, each in progress.under_way.values())
        line = f"{progress.delivered} of {count} delivered"
        if progress.under_way:
            line += f"; {count_of(len(progress.under_way), 'stream')}"
            line += f" at {so_far / GIB:.2f} of {in_all / GIB:.2f} GiB"
            line += f", {rate / 2**20:.1f} MiB/s"
            if rate:
                line += f", {duration((in_all - so_far) / rate)} left for these"
        for destination, why in progress.waiting.items():
            line += f"; {destination} does not answer: {why}"
        console.info(line)
