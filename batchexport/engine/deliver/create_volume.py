"""A volume made of the image, in the cloud where a delivery before has put it: the end of a migration.

No id of a volume can be chosen: each bears our mark from its creation, and is looked for by it after an
answer that was lost.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from batchexport.deliveries import Delivered, Delivery, DeliveryState, InDoubt, Started
from batchexport.engine.deliver.context import Delivering
from batchexport.engine.deliver.image_writer import MARKER
from batchexport.engine.deliver.kind import NotYetError
from batchexport.engine.deliver.ports import DeliveryCloud
from batchexport.engine.deliver.requests import send
from batchexport.errors import NotFoundError, OutcomeUnknownError, RefusedError, TransientError
from batchexport.model import Volume, VolumeRequest

log = logging.getLogger(__name__)

#: A request that got no answer may become visible so much later: 0.9 s was the longest that was seen.
SETTLE_S = 30.0
#: A volume of 500 GiB at 100 MB/s takes an hour and a half.
MADE_WITHIN_S = 4 * 3600.0
_LOOK_S = 3.0
GIB = 2**30


class CreateVolume:
    """Creates volumes in one cloud."""

    def __init__(
        self,
        destination: str,
        cloud: DeliveryCloud,
        context: Delivering,
        *,
        copy: str | None,
        volume_type: str | None = None,
    ) -> None:
        """`copy` is the destination that puts the image there; None = the image is there already."""
        self.destination = destination
        self._cloud = cloud
        self._context = context
        self._copy = copy
        self._volume_type = volume_type

    async def deliver(self, delivery: Delivery) -> Delivered:
        """Create it. Raises as `DeliveryKind.deliver`."""
        image_id = await self._image_there(delivery)
        image = await self._cloud.image.get_image(image_id)
        if image is None:
            raise RefusedError(f"the image {image_id} is gone from there")
        details = image.details
        unpacked = (details.virtual_bytes if details else None) or image.size_bytes or 0
        size_gib = max(-(-unpacked // GIB), (details.min_disk_gib if details else None) or 0, 1)
        volume = await self._find(delivery)
        if volume is None and delivery.started_at is not None:  # an earlier try may have requested it
            volume = await self._found_late(delivery)
        if volume is None:
            volume = await self._create(delivery, image_id, size_gib)
        volume = await self._made(volume)
        if (volume.size_gib or 0) < size_gib:
            raise RefusedError(f"the volume has {volume.size_gib} GiB, the image unpacks to {size_gib}")
        return Delivered(
            delivery_id=delivery.delivery_id,
            result_id=volume.volume_id,
            size_bytes=unpacked,
            image_hash=details.hash if details else None,
            verified_by=f"the volume is available, made of the verified image {image_id}",
            at_s=self._context.now(),
        )

    async def still_there(self, delivery: Delivery) -> bool:
        """Whether the volume is listed, and not in error."""
        volume = await self._find(delivery)
        return volume is not None and volume.status in ("available", "in-use")

    async def abandon(self, delivery: Delivery) -> None:
        """Delete a volume that is in error; one that is being made may still become good."""
        volume = await self._find(delivery)
        if volume is not None and volume.status.startswith("error"):
            await self._delete(volume)

    async def _image_there(self, delivery: Delivery) -> str:
        if self._copy is None:
            return delivery.image_id
        came = await self._context.end_of(delivery.job_id, self._copy)
        if isinstance(came, Delivered):
            return came.result_id
        if came is DeliveryState.FAILED:
            raise RefusedError(f"its image did not get there: see {self._copy}")
        raise NotYetError(f"its image is not there yet: see {self._copy}")

    async def _create(self, delivery: Delivery, image_id: str, size_gib: int) -> Volume:
        await self._context.commit(
            Started(delivery_id=delivery.delivery_id, result_id=None, generation=0, at_s=self._context.now())
        )
        request = VolumeRequest(
            name=f"batchexport-{delivery.volume_id}"[:64],
            description=f"made of image {image_id}"[:85],
            metadata=self._mark(delivery),
            image_id=image_id,
            size_gib=size_gib,
            volume_type=self._volume_type,
        )
        try:
            made = await send(
                lambda fence: self._cloud.copies.create_volume(request, fence=fence), [self._context.work]
            )
        except OutcomeUnknownError as error:
            await self._context.commit(InDoubt(delivery_id=delivery.delivery_id, reason=str(error)))
            made = await self._found_late(delivery)
            if made is None:
                raise TransientError("the request for the volume was not carried out") from error
        assert made is not None
        return made

    async def _made(self, volume: Volume) -> Volume:
        """The volume, available."""
        waited, missing = 0.0, 0
        while volume.status != "available":
            if volume.status.startswith("error"):
                await self._delete(volume)
                raise RefusedError(f"the volume became {volume.status} while it was made; it is deleted")
            if waited >= MADE_WITHIN_S:
                raise TransientError(f"the volume is {volume.status} for {waited / 3600:.0f} h")
            await self._context.sleep(_LOOK_S)
            waited += _LOOK_S
            found = await self._by_mark(volume)
            missing = 0 if found is not None else missing + 1
            if missing * _LOOK_S > SETTLE_S:
                raise TransientError(f"the volume {volume.volume_id} is not listed any more")
            volume = found or volume
        return volume

    async def _by_mark(self, volume: Volume) -> Volume | None:
        mark = dict(volume.details.metadata) if volume.details else {}
        async for page in self._cloud.copies.marked_volumes({MARKER: mark.get(MARKER, "")}):
            for each in page:
                if each.volume_id == volume.volume_id:
                    return each
        return None

    async def _found_late(self, delivery: Delivery) -> Volume | None:
        """The volume of a request without an answer, once it can be seen; None = there is none."""
        waited = 0.0
        while (found := await self._find(delivery)) is None and waited < SETTLE_S:
            await self._context.sleep(_LOOK_S)
            waited += _LOOK_S
        return found

    async def _find(self, delivery: Delivery) -> Volume | None:
        """The oldest volume that bears the mark of this delivery."""
        mark = self._mark(delivery)
        async for page in self._cloud.copies.marked_volumes(mark):
            for volume in page:
                if volume.details is not None and mark.items() <= volume.details.metadata.items():
                    return volume
        return None

    async def _delete(self, volume: Volume) -> None:
        with suppress(NotFoundError):
            await send(
                lambda fence: self._cloud.copies.delete_volume(volume.volume_id, fence=fence),
                [self._context.work],
            )

    def _mark(self, delivery: Delivery) -> dict[str, str]:
        return {MARKER: delivery.marker(self._context.run_id)}
