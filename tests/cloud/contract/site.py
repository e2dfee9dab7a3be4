"""A cloud to run the cases on, and what is in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from batchexport.engine.ports import Cloud
from batchexport.model import NO_OPTIONS, Accepted, ExportRequest, Image, Server

T = TypeVar("T")

#: No volume, image or server has this id.
MISSING = "00000000-0000-4000-8000-00000000dead"
#: Longer than any export or any stop takes.
LIMIT_S = 300.0


class ForbiddenByFenceError(Exception):
    """Raised by a fence."""


class Fence:
    """Counts its calls; with `forbids` it lets nothing be sent."""

    def __init__(self, *, forbids: bool = False) -> None:
        self.calls = 0
        self._forbids = forbids

    def __call__(self) -> None:
        self.calls += 1
        if self._forbids:
            raise ForbiddenByFenceError


@dataclass(frozen=True, kw_only=True)
class Site:
    """A cloud with volumes of our own."""

    cloud: Cloud
    volumes: Sequence[str]  #: three that are available
    name: str  #: a prefix of image names that no other run uses
    servers: Sequence[
        str
    ] = ()  #: two that run, the first one with a volume; empty = the cloud has no servers
    in_use: str | None = None  #: the volume of the first server
    failing: str | None = None  #: a volume whose export fails; None = no export can be made to fail
    look_s: float = 1.0  #: between two looks

    async def export(self, volume_id: str, image_name: str) -> Accepted:
        """Start an export with the cloud's own choices."""
        request = ExportRequest(volume_id=volume_id, image_name=image_name, options=NO_OPTIONS)
        return await self.cloud.block_storage.upload_volume_to_image(request, fence=Fence())

    async def exported(self, volume_id: str, image_name: str) -> Image:
        """A whole image of the volume, whose copy is over."""
        accepted = await self.export(volume_id, image_name)
        image = await self.until_active(accepted.image_id)
        await self.until_status(volume_id, "available")
        return image

    async def until_active(self, image_id: str) -> Image:
        """The image, once it is whole."""
        image = await self.until(
            lambda: self.cloud.image.get_image(image_id),
            lambda found: found is not None and found.status == "active",
        )
        assert image is not None
        return image

    async def until_status(self, volume_id: str, status: str) -> None:
        """Wait until the volume has this status."""
        await self.until(
            lambda: self.cloud.block_storage.get_volume(volume_id),
            lambda volume: volume is not None and volume.status == status,
        )

    async def until_server(self, server_id: str, status: str) -> None:
        """Wait until the server has this status, and nothing is being done to it."""
        await self.until(
            lambda: self.cloud.compute.get_server(server_id),
            lambda server: server.status == status and not server.task,
        )

    async def until(self, look: Callable[[], Awaitable[T]], is_good: Callable[[T], bool]) -> T:
        """The first look that is good. Raises TimeoutError if there is none in time."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                if is_good(seen := await look()):
                    return seen
                await asyncio.sleep(self.look_s)

    async def servers_by_id(self, *server_ids: str) -> dict[str, Server]:
        """What is known of these servers now."""
        pages = self.cloud.compute.servers(server_ids)
        return {server.server_id: server async for page in pages for server in page}


async def ids_of(pages: AsyncIterator[Sequence[Image]]) -> list[str]:
    """The ids of the images of all pages, in their order."""
    return [image.image_id async for page in pages for image in page]
