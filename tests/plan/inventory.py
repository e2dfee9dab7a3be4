"""A cloud in memory to look at: pages of a few records, and a count of what was asked for."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from batchexport.dialect import CINDER, Dialect
from batchexport.model import Image, ImageQuota, Volume

Found = TypeVar("Found", Volume, Image)


class FakeInventory:
    """Lists `volumes` and `images` by pages; those `unlisted` can only be read by their ids."""

    def __init__(
        self,
        *,
        volumes: tuple[Any, ...] | list[Volume] = (),
        images: tuple[Any, ...] | list[Image] = (),
        unlisted: Sequence[Image | Volume] = (),
        page: int = 2,
        dialect: Dialect = CINDER,
        quota: ImageQuota | None = None,
    ) -> None:
        self.dialect = dialect
        self.calls: Counter[str] = Counter()
        self._volumes = list(volumes)
        self._images = list(images)
        self._unlisted = list(unlisted)
        self._page = page
        self._quota = quota

    @property
    def block_storage(self) -> Any:
        """This one object is each of the cloud's services."""
        return self

    image = block_storage

    async def get_volume(self, volume_id: str) -> Any:
        self.calls["volume"] += 1
        everything = self._volumes + self._unlisted
        return next((volume for volume in everything if volume.volume_id == volume_id), None)

    async def volumes(self) -> AsyncIterator[list[Volume]]:
        for page in self._pages(self._volumes):
            self.calls["volumes"] += 1
            yield page

    async def get_image(self, image_id: str) -> Any:
        self.calls["image"] += 1
        everything = self._images + self._unlisted
        return next((image for image in everything if image.image_id == image_id), None)

    async def images(self, *, created_since: float | None = None) -> AsyncIterator[list[Image]]:
        self.created_since = created_since
        for page in self._pages(self._images):
            self.calls["images"] += 1
            yield page

    async def get_quota(self) -> Any:
        return self._quota

    def _pages(self, records: list[Found]) -> list[list[Found]]:
        return [records[start : start + self._page] for start in range(0, len(records), self._page)]
