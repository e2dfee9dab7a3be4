"""A file in a folder or an object store, with a manifest beside it from which it can be restored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from batchexport.deliveries import Delivered, Delivery, Started
from batchexport.engine.deliver.context import Delivering
from batchexport.engine.deliver.requests import send
from batchexport.engine.deliver.source import SourceImage, source_image
from batchexport.engine.ports import Fence
from batchexport.errors import ConfigError, TransientError
from batchexport.objects import MANIFEST_SUFFIX, Manifest, Place, read_manifest
from batchexport.objects.place import safe_name


class SaveImage:
    """Saves to one place."""

    def __init__(self, destination: str, place: Place, context: Delivering) -> None:
        self.destination = destination
        self._place = place
        self._context = context

    async def deliver(self, delivery: Delivery) -> Delivered:
        """Save it: first the data, then the manifest. Raises as `DeliveryKind.deliver`."""
        source = await source_image(self._context.source, delivery.image_id)
        name = file_name(delivery, str(source.fields["disk_format"]))
        await self._context.commit(
            Started(
                delivery_id=delivery.delivery_id,
                result_id=self._place.url + name,
                generation=0,
                at_s=self._context.now(),
            )
        )
        hashes = await self._saved_before(name, delivery, source)
        if hashes is None:
            hashes = await self._save(name, delivery, source)
            manifest = self._manifest(name, delivery, source, hashes)

            async def write(fence: Fence) -> None:
                fence()
                await self._place.write(name + MANIFEST_SUFFIX, manifest.encode())

            await send(write, [self._context.work])
        found = await self._place.size_of(name)
        if found != source.size:
            raise TransientError(f"{self._place.url}{name} has {found} bytes, {source.size} were written")
        told = [each for each in source.expected if each in hashes]
        agrees = (
            f"equals that of the source ({', '.join(told)})" if told else "was noted, the source tells none"
        )
        return Delivered(
            delivery_id=delivery.delivery_id,
            result_id=self._place.url + name,
            size_bytes=source.size,
            image_hash=f"sha512:{hashes['sha512']}" if "sha512" in hashes else None,
            verified_by=f"the hash of the bytes written {agrees}; the size there is right",
            at_s=self._context.now(),
        )

    async def still_there(self, delivery: Delivery) -> bool:
        """Whether the file has its size, and its manifest stands beside it."""
        name = (delivery.result_id or "").rpartition("/")[2]
        text = await self._place.read(name + MANIFEST_SUFFIX)
        return text is not None and await self._place.size_of(name) == delivery.size_bytes

    async def abandon(self, delivery: Delivery) -> None:
        """What is half written is gone on with by the next try."""

    async def _saved_before(
        self, name: str, delivery: Delivery, source: SourceImage
    ) -> Mapping[str, str] | None:
        """The digests of a file that an earlier try finished; None = there is none."""
        text = await self._place.read(name + MANIFEST_SUFFIX)
        if text is None or await self._place.size_of(name) != source.size:
            return None
        try:
            manifest = read_manifest(text, name)
        except ConfigError:
            return None
        same = manifest.image_id == delivery.image_id and manifest.size_bytes == source.size
        agrees = all(manifest.hashes.get(each) == value for each, value in source.expected.items())
        return manifest.hashes if same and agrees else None

    async def _save(self, name: str, delivery: Delivery, source: SourceImage) -> Mapping[str, str]:
        data = self._context.source.image.data

        async def save(fence: Fence) -> Mapping[str, str]:
            fence()
            return await self._place.save(
                name,
                lambda offset: data.download(delivery.image_id, offset=offset),
                size=source.size,
                expected=source.expected,
                key=delivery.marker(self._context.run_id),
                bandwidth=self._context.bandwidth,
                on_bytes=self._context.progress.begin(delivery.delivery_id, source.size),
            )

        try:
            async with self._context.transfers.slot(self.destination):
                hashes = await send(save, [self._context.work])
        finally:
            self._context.progress.end(delivery.delivery_id)
        assert hashes is not None
        return hashes

    def _manifest(
        self, name: str, delivery: Delivery, source: SourceImage, hashes: Mapping[str, str]
    ) -> Manifest:
        identity = self._context.source.identity
        return Manifest(
            file=name,
            size_bytes=source.size,
            hashes=hashes,
            image_id=delivery.image_id,
            volume_id=delivery.volume_id,
            run_id=self._context.run_id,
            saved_at=datetime.fromtimestamp(self._context.now(), UTC).isoformat(timespec="seconds"),
            saved_by=self._context.version,
            cloud=None if identity is None else identity.cloud,
            image=source.fields,
        )


def file_name(delivery: Delivery, disk_format: str) -> str:
    """The name of the file: no two images have the same."""
    return f"{safe_name(delivery.image_name)}.{delivery.image_id}.{safe_name(disk_format)}"
