"""Sharing: another project of the same cloud is made a member of the image, and accepts it where it can."""

from __future__ import annotations

from contextlib import suppress

from batchexport.deliveries import Delivered, Delivery, Started
from batchexport.engine.deliver.context import Delivering
from batchexport.engine.deliver.ports import DeliveryCloud
from batchexport.engine.deliver.requests import send
from batchexport.engine.deliver.source import source_image
from batchexport.errors import RefusedError, TransientError, VolumeStateError


class ShareImage:
    """Shares with one project."""

    def __init__(
        self, destination: str, project_id: str, context: Delivering, *, receiver: DeliveryCloud | None = None
    ) -> None:
        """`receiver`: a sign-in to that project, which accepts; None = somebody there does."""
        self.destination = destination
        self._project_id = project_id
        self._context = context
        self._receiver = receiver

    async def deliver(self, delivery: Delivery) -> Delivered:
        """Share it. Every request may be repeated. Raises as `DeliveryKind.deliver`."""
        source = await source_image(self._context.source, delivery.image_id)
        await self._context.commit(
            Started(
                delivery_id=delivery.delivery_id,
                result_id=self._project_id,
                generation=0,
                at_s=self._context.now(),
            )
        )
        if source.visibility == "public":
            raise RefusedError("the image is public: every project has it, and it has no members")
        if source.visibility != "shared":
            await self._make_shared(delivery.image_id)
        await self._add(delivery.image_id)
        if self._receiver is not None:
            receiver = self._receiver
            await send(
                lambda fence: receiver.image.members.accept(delivery.image_id, self._project_id, fence=fence),
                [self._context.work],
            )
        status = await self._status(delivery.image_id)
        if status is None or (self._receiver is not None and status != "accepted"):
            raise TransientError(f"the member is {status or 'not listed'} yet")
        waits = "" if status == "accepted" else "; nobody there has accepted it yet"
        return Delivered(
            delivery_id=delivery.delivery_id,
            result_id=self._project_id,
            size_bytes=source.size,
            image_hash=source.hash,
            verified_by=f"listed as a member of the image: {status}{waits}",
            at_s=self._context.now(),
        )

    async def still_there(self, delivery: Delivery) -> bool:
        """No: what is shared is the source itself."""
        return False

    async def abandon(self, delivery: Delivery) -> None:
        """Nothing is half done: a project is a member, or it is none."""

    async def _make_shared(self, image_id: str) -> None:
        change = [{"op": "replace", "path": "/visibility", "value": "shared"}]
        await send(
            lambda fence: self._context.source.image.data.change_image(image_id, change, fence=fence),
            [self._context.work],
        )

    async def _add(self, image_id: str) -> None:
        with suppress(VolumeStateError):  # it is one already
            await send(
                lambda fence: self._context.source.image.members.add_member(
                    image_id, self._project_id, fence=fence
                ),
                [self._context.work],
            )

    async def _status(self, image_id: str) -> str | None:
        members = await self._context.source.image.members.members(image_id)
        return next((each.status for each in members if each.member_id == self._project_id), None)
