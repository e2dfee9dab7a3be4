"""What looking needs of a cloud: lists and single reads, nothing that changes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from batchexport.dialect import Dialect
from batchexport.model import Image, ImageQuota, Volume


class Volumes(Protocol):
    """The block storage of a project, to look at."""

    async def get_volume(self, volume_id: str) -> Volume | None:
        """The volume, or None where the cloud knows none of this id."""
        ...

    def volumes(self) -> AsyncIterator[Sequence[Volume]]:
        """Pages of the project's volumes with their details, one request each."""
        ...


class Images(Protocol):
    """The images of a project, to look at."""

    async def get_image(self, image_id: str) -> Image | None:
        """The image, or None where the cloud knows none of this id."""
        ...

    def images(self, *, created_since: float | None = None) -> AsyncIterator[Sequence[Image]]:
        """Pages of the project's images, one request each; `created_since` is server time, inclusive."""
        ...

    async def get_quota(self) -> ImageQuota | None:
        """How many images the project may have and has, or None where the cloud does not tell."""
        ...


class Inventory(Protocol):
    """One project in one region, to look at. Raises only errors of `CloudError`."""

    @property
    def dialect(self) -> Dialect:
        """The rules of its block storage."""
        ...

    @property
    def block_storage(self) -> Volumes:
        """Its volumes."""
        ...

    @property
    def image(self) -> Images:
        """Its images."""
        ...
