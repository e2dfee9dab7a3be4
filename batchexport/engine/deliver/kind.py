"""What a kind of delivery has to say: how one is done, and how what it left is taken away."""

from __future__ import annotations

from typing import Protocol

from batchexport.deliveries import Delivered, Delivery
from batchexport.errors import BatchExportError


class NotYetError(BatchExportError):
    """What the delivery needs is left for later, and so is the delivery."""


class DeliveryKind(Protocol):
    """One kind of delivery to one destination."""

    @property
    def destination(self) -> str:
        """As the user wrote it."""

    async def deliver(self, delivery: Delivery) -> Delivered:
        """Do it, or go on with what an earlier try began; returns once it is verified.

        Raises RefusedError where no other try helps, NotYetError where it cannot be begun now, any other
        CloudError or WrongDataError where another try may help.
        """

    async def still_there(self, delivery: Delivery) -> bool:
        """Whether what was delivered is there now, whole, and holds the data without the source."""

    async def abandon(self, delivery: Delivery) -> None:
        """Take away what is half done, as far as that can be done now; called when it is given up."""
