"""Restore images from their files: uploaded once, and compared with their manifests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from functools import partial

import msgspec

from batchexport import cloud
from batchexport.app.console import Console
from batchexport.config import CloudSettings, Settings
from batchexport.engine.deliver.image_writer import Content, ImageWriter
from batchexport.errors import CloudError, ConfigError
from batchexport.model import TargetKey
from batchexport.objects import Manifest, open_place, read_manifest, split_url
from batchexport.transfer import Bandwidth, WrongDataError

#: Ids of restored images are made from it: never change it.
_NAMESPACE = uuid.UUID("8e0a2f5b-5f0c-4d0e-9c39-0d5a4a7c8f11")


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """One manifest, and what became of it."""

    url: str
    image_id: str | None = None  #: None = it failed
    reason: str  #: what proved that it is whole, or why it failed


async def restore(
    urls: Sequence[str],
    settings: Settings,
    access: CloudSettings,
    *,
    max_transfers: int,
    bandwidth: float | None,
    console: Console,
) -> list[Restored]:
    """Upload the images of these manifests. The same manifest and project give the same image id each time.

    Raises ConfigError for what is no manifest, before anything is sent; CloudError where the cloud cannot be
    reached.
    """
    manifests = [await _manifest(url) for url in urls]
    limits = msgspec.structs.replace(
        settings.limits, concurrency=settings.limits.concurrency + 2 * max_transfers
    )
    transfers, limit = asyncio.Semaphore(max_transfers), Bandwidth(bandwidth)
    async with cloud.connect(TargetKey(), access, limits=limits) as there:
        tasks = [
            _restore(url, manifest, there, transfers, limit, console)
            for url, manifest in zip(urls, manifests, strict=True)
        ]
        return list(await asyncio.gather(*tasks))


async def _manifest(url: str) -> Manifest:
    folder, name = split_url(url)
    async with open_place(folder) as place:
        try:
            text = await place.read(name)
        except CloudError as error:
            raise ConfigError(str(error)) from error
    if text is None:
        raise ConfigError(f"{url}: there is no such file", hint="name the manifest of a saved image")
    return read_manifest(text, url)


async def _restore(
    url: str,
    manifest: Manifest,
    there: cloud.Cloud,
    transfers: asyncio.Semaphore,
    bandwidth: Bandwidth,
    console: Console,
) -> Restored:
    identity = (there.facts.project_id or "", manifest.image_id, *sorted(manifest.hashes.values()))
    id_of = partial(_made_id, identity)
    writer = ImageWriter(
        cloud=there,
        marker=id_of(-1),
        slot=lambda: transfers,
        bandwidth=bandwidth,
        begin=lambda: lambda _: None,
    )
    folder, _ = split_url(url)
    try:
        async with open_place(folder) as place:
            size = await place.size_of(manifest.file)
            if size != manifest.size_bytes:
                has = "is not there" if size is None else f"has {size:,} bytes"
                words = f"{manifest.file} {has}, the manifest says {manifest.size_bytes:,}"
                return Restored(url=url, reason=words)
            content = Content(
                size=manifest.size_bytes,
                expected=manifest.hashes,
                fields=manifest.image,
                open_from=place.open_from(manifest.file),
            )
            written = await writer.write(content, id_of, first=0, on_turn=_no_record)
    except (CloudError, WrongDataError) as error:
        return Restored(url=url, reason=str(error))
    console.info(f"{url}: image {written.image_id}")
    words = written.verdict.words if written.is_new else f"it was there already; {written.verdict.words}"
    return Restored(url=url, image_id=written.image_id, reason=words)


def _made_id(identity: Sequence[str], turn: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, "\n".join((*identity, str(turn)))))


async def _no_record(_turn: int, _image_id: str) -> None:
    """No state file knows of it: the id alone tells what was begun."""
