"""Two sandboxes side by side, east with the images of a finished run, and west to deliver them to."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from batchexport.app.console import NullConsole
from batchexport.app.deliver import DeliverOptions, Outcome, deliver
from batchexport.cloud import Cloud, connect
from batchexport.config import CloudSettings, Limits, Settings
from batchexport.config.destination import read_destination
from batchexport.model import JobState, TargetKey
from batchexport.sandbox import SandboxSettings, clouds_yaml, serve
from batchexport.store import stores
from tests.store.making import bring, image, make

LIMITS = Limits(requests_per_second=0)
SIZE = 1_500_000


def data_of(number: int) -> bytes:
    """The data of an image: another for each."""
    return random.Random(number).randbytes(SIZE + number)


def hash_of(number: int) -> str:
    return f"sha512:{hashlib.sha512(data_of(number)).hexdigest()}"


async def in_pieces(data: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(data), 65536):
        yield data[begin : begin + 65536]


@dataclass
class Two:
    """Both clouds, the state file, and the folder around them."""

    folder: Path
    state: Path
    east: Cloud
    west: Cloud
    west_settings: SandboxSettings
    stack: AsyncExitStack = field(repr=False)

    async def deliver(self, *destinations: str, **options: Any) -> Outcome:
        """What the command does."""
        wanted = DeliverOptions(destinations=[read_destination(each) for each in destinations], **options)
        access = CloudSettings(cloud="east", sign_in_timeout_s=0)
        return await deliver(self.state, Settings(limits=LIMITS), access, wanted, NullConsole())

    @property
    def run_id(self) -> str:
        """The run of the state file."""
        return "20270101-abcdef"

    async def west_images(self) -> list[tuple[str, str, str | None]]:
        """Id, status and hash of every image in the west."""
        found = [each async for page in self.west.image.images() for each in page]
        return [(each.image_id, each.status, each.details.hash if each.details else None) for each in found]


def files(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def each_image_is_there_once(two: Two) -> None:
    found = sorted((status, told) for _, status, told in await two.west_images())
    assert found == sorted(("active", hash_of(number)) for number in (1, 2, 3))


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OS_CLOUD", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    yield


@pytest.fixture
def east_settings() -> SandboxSettings:
    return SandboxSettings()


@pytest.fixture
def west_settings(tmp_path: Path) -> SandboxSettings:
    return SandboxSettings(time_scale=0)


@pytest.fixture
async def two(
    tmp_path: Path, east_settings: SandboxSettings, west_settings: SandboxSettings
) -> AsyncIterator[Two]:
    state = await asyncio.to_thread(make, tmp_path / "march.state", 3)
    async with AsyncExitStack() as stack:
        east = await stack.enter_async_context(serve(east_settings))
        west = await stack.enter_async_context(serve(west_settings))
        text = clouds_yaml(east.url).replace("  sandbox:", "  east:")
        text += clouds_yaml(west.url).replace("clouds:\n", "").replace("  sandbox:", "  west:")
        text += clouds_yaml("http://127.0.0.1:1").replace("clouds:\n", "").replace("  sandbox:", "  away:")
        await asyncio.to_thread((tmp_path / "clouds.yaml").write_text, text)
        here, there = [
            await stack.enter_async_context(connect(TargetKey(), CloudSettings(cloud=name), limits=LIMITS))
            for name in ("east", "west")
        ]
        async with stores.open_for_work(state) as store:
            work = await store.take(1)
            for number in (1, 2, 3):
                await bring(work, JobState.SUCCEEDED)
                await made(here, number)
            await work.release()
        yield Two(tmp_path, state, here, there, west_settings, stack)


async def made(cloud: Cloud, number: int) -> None:
    """The image of a row, in its cloud."""
    fields = {
        "id": image(number),
        "name": f"image-{number}",
        "disk_format": "raw",
        "container_format": "bare",
        "min_disk": 2,
        "hw_disk_bus": "scsi",
        "os_distro": "debian",
        "owner_specified.openstack.md5": "0",
        "tags": ["nightly"],
    }
    await cloud.image.data.create_image(fields, fence=lambda: None)
    data = data_of(number)
    await cloud.image.data.upload(image(number), in_pieces(data), size=len(data), fence=lambda: None)
