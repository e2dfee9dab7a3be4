"""Two sandboxes whose images hold data, and what stands in them afterwards."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from batchexport.cloud import Cloud, connect
from batchexport.config import CloudSettings, Limits
from batchexport.engine.deliver.image_writer import MARKER
from batchexport.model import TargetKey
from batchexport.sandbox import SandboxSettings, SandboxVolume, clouds_yaml, serve

LIMITS = Limits(requests_per_second=0)
IDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(1, 5)]
BYTES_PER_GIB = 50_000


def east_of(**settings: object) -> SandboxSettings:
    """A sandbox with four volumes of 10 GiB, which exports at once."""
    volumes = tuple(
        SandboxVolume(volume_id=volume_id, name=f"vol-{number}", size_gib=10, status="available")
        for number, volume_id in enumerate(IDS, 1)
    )
    plain = {"volumes": volumes, "synthetic_volumes": False, "time_scale": 0.0}
    return SandboxSettings(**{**plain, "image_bytes_per_gib": BYTES_PER_GIB, **settings})  # type: ignore[arg-type]  # names of its fields


@dataclass
class Sides:
    """Both clouds, and the folder with the list."""

    folder: Path
    list_path: Path
    state: Path
    east: Cloud
    west: Cloud

    async def copies(self) -> Counter[str]:
        """Image names in the west that are active and bear our mark; any other image has the name `?`."""
        found = Counter[str]()
        async for page in self.west.image.images():
            for each in page:
                document = await self.west.image.data.get_document(each.image_id)
                ours = document is not None and document.get(MARKER) and each.status == "active"
                found[each.name if ours else "?"] += 1
        return found

    async def volumes(self) -> Counter[str]:
        """Statuses of the volumes in the west."""
        found = Counter[str]()
        async for page in self.west.block_storage.volumes():
            found.update(each.status for each in page)
        return found

    async def sources(self) -> list[str]:
        """Ids of the images in the east."""
        return [each.image_id async for page in self.east.image.images() for each in page]


def two_clouds(east: str, west: str) -> str:
    """The clouds.yaml of both, and of one that does not answer."""
    parts = {"east": east, "west": west, "away": "http://127.0.0.1:1"}
    entries = [
        clouds_yaml(url).removeprefix("clouds:\n").replace("  sandbox:", f"  {name}:")
        for name, url in parts.items()
    ]
    return "clouds:\n" + "".join(entries)


@asynccontextmanager
async def both_sides(folder: Path, *, east: SandboxSettings, west: SandboxSettings) -> AsyncIterator[Sides]:
    """Both, while the context lasts; `clouds.yaml` in the folder names them."""
    async with AsyncExitStack() as stack:
        urls = [(await stack.enter_async_context(serve(each))).url for each in (east, west)]
        (folder / "clouds.yaml").write_text(two_clouds(*urls))
        (folder / "volumes.csv").write_text("volume_id\n" + "\n".join(IDS) + "\n")
        here, there = [
            await stack.enter_async_context(
                connect(
                    TargetKey(),
                    CloudSettings(cloud=name, clouds_file=folder / "clouds.yaml"),
                    limits=LIMITS,
                )
            )
            for name in ("east", "west")
        ]
        yield Sides(folder, folder / "volumes.csv", folder / "volumes.state", here, there)


def is_whole(path: Path) -> bool:
    """Whether a saved file has the hash that its manifest tells."""
    from batchexport.objects import read_manifest

    manifest = read_manifest(path.with_name(path.name + ".manifest.json").read_bytes(), path.name)
    return hashlib.sha512(path.read_bytes()).hexdigest() == manifest.hashes["sha512"]
