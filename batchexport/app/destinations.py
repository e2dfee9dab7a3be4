"""Destinations of deliveries, opened: clouds signed in to, folders and object stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from msgspec.structs import replace

from batchexport import cloud
from batchexport.cloud.connection import load_account
from batchexport.cloud.http.rate_limiter import RateLimiter
from batchexport.config import CloudSettings, Limits
from batchexport.config.destination import Destination, DestinationKind, read_destination
from batchexport.engine.deliver import (
    CopyImage,
    CreateVolume,
    Delivering,
    DeliveryKind,
    Opening,
    SaveImage,
    ShareImage,
)
from batchexport.engine.deliver.ports import DeliveryCloud
from batchexport.errors import ConfigError
from batchexport.model import TargetKey
from batchexport.objects import open_place


def opening(text: str, *, limits: Limits, access: CloudSettings) -> Opening:
    """What opens this destination. Raises ConfigError for one that is none."""
    return partial(_open, read_destination(text), limits, access)


def with_room(limits: Limits, transfers: int) -> Limits:
    """Connections for the streams beside those for requests."""
    return replace(limits, concurrency=limits.concurrency + 2 * transfers)


def as_delivery_cloud(source: object) -> DeliveryCloud:
    """The client of a cloud has what deliveries need; fakes of tests may not."""
    if not isinstance(source, cloud.Cloud):
        raise ConfigError("this cloud hands out no images")
    return source


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
            async with connected(destination.accept or "", limits, access) as receiver:
                if receiver.facts.project_id not in (None, destination.name):
                    found = receiver.facts.project_id
                    raise ConfigError(f"{text}: the cloud {destination.accept} signs in to project {found}")
                yield ShareImage(text, destination.name, context, receiver=receiver)
        case DestinationKind.CLOUD:
            async with connected(destination.name, limits, access) as there:
                yield CopyImage(text, there, context)
        case DestinationKind.VOLUME:
            async with connected(destination.name, limits, access) as there:
                yield CreateVolume(
                    text,
                    there,
                    context,
                    copy=f"cloud:{destination.name}",
                    volume_type=destination.volume_type,
                )


@asynccontextmanager
async def connected(name: str, limits: Limits, access: CloudSettings) -> AsyncIterator[cloud.Cloud]:
    """A cloud of clouds.yaml, with a rate limit of its own."""
    settings = _entry(name, access)
    limiter = RateLimiter(limits.requests_per_second)
    async with cloud.connect(TargetKey(cloud=name), settings, limits=limits, limiter=limiter) as client:
        yield client


async def check_clouds(destinations: Sequence[Destination], access: CloudSettings) -> None:
    """Raise ConfigError for a cloud that clouds.yaml does not define, and for a place that cannot be."""
    for each in destinations:
        if each.kind is DestinationKind.FILES:
            open_place(each.url(run_id="20000101-000000"))
            continue
        name = each.accept if each.kind is DestinationKind.PROJECT else each.name
        if name is not None:
            await asyncio.to_thread(load_account, TargetKey(cloud=name), _entry(name, access))


def _entry(name: str, access: CloudSettings) -> CloudSettings:
    """The cloud as its entry alone describes it: an openrc that was read speaks of the source."""
    return CloudSettings(
        cloud=name,
        sign_in_timeout_s=access.sign_in_timeout_s,
        clouds_file=access.clouds_file,
        entry_alone=True,
    )
