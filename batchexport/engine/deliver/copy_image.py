"""A copy in the image service of another cloud, region or project: streamed there, and compared."""

from __future__ import annotations

from functools import partial

from batchexport.deliveries import Delivered, Delivery, Started
from batchexport.engine.deliver.context import Delivering
from batchexport.engine.deliver.image_writer import MAX_TURNS, Content, ImageWriter
from batchexport.engine.deliver.ports import DeliveryCloud
from batchexport.engine.deliver.source import source_image


class CopyImage:
    """Copies to one cloud."""

    def __init__(self, destination: str, cloud: DeliveryCloud, context: Delivering) -> None:
        self.destination = destination
        self._cloud = cloud
        self._context = context

    async def deliver(self, delivery: Delivery) -> Delivered:
        """Copy it. Raises as `DeliveryKind.deliver`."""
        source = await source_image(self._context.source, delivery.image_id)
        download = partial(self._context.source.image.data.download, delivery.image_id)
        content = Content(
            size=source.size,
            expected=source.expected,
            fields={**source.fields, "batchexport_source": delivery.image_id},
            open_from=lambda offset: download(offset=offset),
        )

        async def started(turn: int, image_id: str) -> None:
            change = Started(
                delivery_id=delivery.delivery_id,
                result_id=image_id,
                generation=turn,
                at_s=self._context.now(),
            )
            await self._context.commit(change)

        writer = self._writer(delivery, source.size)
        id_of = partial(delivery.made_id, self._context.run_id)
        try:
            written = await writer.write(content, id_of, first=delivery.generation, on_turn=started)
        finally:
            self._context.progress.end(delivery.delivery_id)
        if source.protected:
            await writer.protect(written.image_id)
        for before in range(written.turn):  # given up on the way, and perhaps not seen when it was
            await writer.delete(id_of(before))
        return Delivered(
            delivery_id=delivery.delivery_id,
            result_id=written.image_id,
            size_bytes=source.size,
            image_hash=written.verdict.hash,
            verified_by=written.verdict.words,
            at_s=self._context.now(),
        )

    async def still_there(self, delivery: Delivery) -> bool:
        """Whether the copy is active, and has the size and the hash that were verified."""
        image = await self._cloud.image.get_image(delivery.result_id or "")
        if image is None or image.status != "active" or image.size_bytes not in (None, delivery.size_bytes):
            return False
        told = image.details.hash if image.details else None
        verified = delivery.image_hash or ""
        return told is None or told == verified or told.partition(":")[0] != verified.partition(":")[0]

    async def abandon(self, delivery: Delivery) -> None:
        """Delete every copy that was begun for it."""
        writer = self._writer(delivery, 0)
        for generation in range(delivery.generation + MAX_TURNS):
            await writer.delete(delivery.made_id(self._context.run_id, generation))

    def _writer(self, delivery: Delivery, size: int) -> ImageWriter:
        return ImageWriter(
            cloud=self._cloud,
            marker=delivery.marker(self._context.run_id),
            works=[self._context.work],
            slot=partial(self._context.transfers.slot, self.destination),
            bandwidth=self._context.bandwidth,
            begin=lambda: self._context.progress.begin(delivery.delivery_id, size),
            sleep=self._context.sleep,
        )
