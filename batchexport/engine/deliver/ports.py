"""What deliveries need from a cloud beside what exports need."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from batchexport.engine.ports import CopyService, Fence
from batchexport.identity import CloudIdentity
from batchexport.model import Image


class ImageData(Protocol):
    """The contents of images."""

    async def get_document(self, image_id: str) -> Mapping[str, object] | None:
        """Everything that the cloud tells of the image; None = there is none of this id."""
        ...

    async def create_image(self, fields: Mapping[str, object], *, fence: Fence) -> None:
        """Make an image without data; VolumeStateError where its id was ever used."""
        ...

    async def change_image(
        self, image_id: str, changes: Sequence[Mapping[str, object]], *, fence: Fence
    ) -> None:
        """Change properties by a JSON patch."""
        ...

    def download(
        self, image_id: str, *, offset: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes of the image from `offset` on."""
        ...

    async def upload(
        self, image_id: str, pieces: AsyncIterable[bytes], *, size: int, staged: bool = False, fence: Fence
    ) -> None:
        """Send the data of a queued image."""
        ...


class Member(Protocol):
    """A project that an image is shared with."""

    member_id: str
    status: str


class ImageMembers(Protocol):
    """With whom images are shared."""

    async def members(self, image_id: str) -> Sequence[Member]:
        """The projects that the image is shared with."""
        ...

    async def add_member(self, image_id: str, project_id: str, *, fence: Fence) -> None:
        """Share it; VolumeStateError where it is shared with the project already."""
        ...

    async def accept(self, image_id: str, project_id: str, *, fence: Fence) -> None:
        """Accept an image that is shared with the signed-in project."""
        ...


class DeliveryImages(Protocol):
    """The images of one project, with their data."""

    @property
    def data(self) -> ImageData:
        """Their contents."""
        ...

    @property
    def members(self) -> ImageMembers:
        """With whom they are shared."""
        ...

    async def get_image(self, image_id: str) -> Image | None:
        """The image, or None where the cloud knows none of this id."""
        ...

    async def delete_image(self, image_id: str, *, fence: Fence) -> None:
        """Delete the image; NotFoundError where it is gone already."""
        ...


class DeliveryCloud(Protocol):
    """One project in one region, as far as deliveries need it."""

    @property
    def identity(self) -> CloudIdentity | None:
        """Which cloud, region and project it is."""
        ...

    @property
    def image(self) -> DeliveryImages:
        """Its images."""
        ...

    @property
    def copies(self) -> CopyService:
        """Its volumes, as far as they are made of something."""
        ...
