"""The image service: read images by id, name and time of change; delete one; the quota."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

import msgspec

from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http.paging import Pager
from batchexport.cloud.http.responses import LenientDecoder, epoch_s, is_id, iso_utc, require_same
from batchexport.cloud.http.session import HttpSession
from batchexport.cloud.http.transport import Fence
from batchexport.cloud.image_data import ImageData
from batchexport.cloud.image_labels import ImageLabels
from batchexport.cloud.image_members import ImageMembers
from batchexport.dialect import Dialect, DialectName
from batchexport.errors import AuthenticationError, NotFoundError, RefusedError
from batchexport.model import Image, ImageDetails, ImageQuota

#: Common servers accept request lines of 4 KB and more; an id has 36 characters.
IDS_PER_REQUEST = 90


class ImageRecord(msgspec.Struct):
    """An image as returned."""

    id: str
    name: str | None = None
    status: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    size: int | None = None
    true_size: int | None = msgspec.field(
        name="__image_size", default=None
    )  #: of IMS, whose `size` is always 0
    ims_type: str | None = msgspec.field(name="__imagetype", default=None)  #: every image of IMS has one
    disk_format: str | None = None
    container_format: str | None = None
    min_disk: int | None = None
    virtual_size: int | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    protected: bool | None = None
    owner: str | None = None  #: the project that it belongs to

    def image(self) -> Image:
        """The image."""
        return Image(
            image_id=self.id,
            name=self.name or "",
            status=(self.status or "").lower(),
            created_at=epoch_s(self.created_at),
            updated_at=epoch_s(self.updated_at),
            size_bytes=self._size_bytes(),
            details=ImageDetails(
                self.disk_format,
                self.container_format,
                self.min_disk,
                self.virtual_size,
                f"{self.os_hash_algo}:{self.os_hash_value}" if self.os_hash_value else None,
                self.protected,
            ),
        )

    def _size_bytes(self) -> int | None:
        """The bytes of the image. Glance's 0 is a size; that of IMS means nothing."""
        if self.size or self.true_size is not None:
            return self.size or self.true_size
        return None if self.ims_type is not None else self.size


class ImagePage(msgspec.Struct):
    """The response that holds a page of images."""

    images: list[ImageRecord]
    next: str | None = None

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the images of this page."""
        return [record.id for record in self.images]

    @property
    def has_next(self) -> bool:
        """Whether the cloud says that another page follows."""
        return bool(self.next)


class ResourceRecord(msgspec.Struct):
    """The quota of one kind of resource; negative = unlimited."""

    type: str
    used: int
    quota: int


class ResourcesRecord(msgspec.Struct):
    """The quotas of all kinds of resources."""

    resources: list[ResourceRecord]


class QuotaResponse(msgspec.Struct):
    """The response with the quotas of IMS."""

    quotas: ResourcesRecord


# Users set properties of any name and value on images; IMS sends numbers as strings.
_IMAGE = LenientDecoder(ImageRecord)
_PAGE = LenientDecoder(ImagePage)
_QUOTA = LenientDecoder(QuotaResponse)


class ImageService:
    """The images of one project."""

    def __init__(
        self, session: HttpSession, endpoint: Endpoint, dialect: Dialect, *, project_id: str | None
    ) -> None:
        self._session = session
        self._endpoint = endpoint
        self._pager = Pager(session, endpoint)
        self._dialect = dialect
        self._project_id = project_id
        self.data = ImageData(session, endpoint)
        self.members = ImageMembers(session, endpoint)
        self.labels = ImageLabels(session, endpoint)

    async def probe(self) -> None:
        """One small request, to find an error before others meet it, and to learn the service's time."""
        await self._session.read(self._endpoint, "/images?limit=1", _PAGE)

    async def get_image(self, image_id: str) -> Image | None:
        """The image, or None where the cloud knows no image of this id.

        Raises TransientError for a response about another one.
        """
        path = f"/images/{quote(image_id, safe='')}"
        try:
            record = await self._session.read(self._endpoint, path, _IMAGE)
        except NotFoundError:
            return None
        require_same(image_id, record.id, "image", path)
        return record.image()

    async def get_quota(self) -> ImageQuota | None:
        """How many images the project may have and has, or None if not told: only IMS tells."""
        if self._dialect.name is not DialectName.EVS:
            return None
        native = Endpoint(url=self._endpoint.url.removesuffix("/v2") + "/v1", version="v1")
        try:
            response = await self._session.read(native, "/cloudimages/quota", _QUOTA)
        except AuthenticationError:
            raise
        except RefusedError:  # not available in every such cloud, nor to every user
            return None
        for each in response.quotas.resources:
            if each.type == "image" and each.quota >= 0:
                return ImageQuota(allowed=each.quota, used=each.used)
        return None

    async def delete_image(self, image_id: str, *, fence: Fence) -> None:
        """Delete the image. Raises NotFoundError where it is gone already."""
        path = f"/images/{quote(image_id, safe='')}"
        await self._session.request("DELETE", self._endpoint, path, fence=fence)

    async def images_named(self, name: str) -> Sequence[Image]:
        """Every image of exactly this name that belongs to the project."""
        found = self._pager.pages("/images", _PAGE, owner=self._project_id, name=_exactly(name))
        records = [record async for page in found for record in page.images]
        return [record.image() for record in records if record.name == name and self._is_own(record)]

    async def images(
        self,
        *,
        status: str | None = None,
        created_since: float | None = None,
        updated_since: float | None = None,
    ) -> AsyncIterator[Sequence[Image]]:
        """Pages of the project's own images, longest unchanged first; oldest first with `created_since`."""
        # Ascending: an image that changes meanwhile moves to the end, and is seen twice rather than never.
        sort = "updated_at:asc" if created_since is None else "created_at:asc"
        found = self._pager.pages(
            "/images",
            _PAGE,
            owner=self._project_id,
            status=status,
            created_at=_since(created_since),
            updated_at=_since(updated_since),
            sort=sort,
        )
        async for page in found:
            images = [record.image() for record in page.images if self._is_own(record)]
            yield [image for image in images if status is None or image.status == status.lower()]

    async def images_by_id(self, image_ids: Sequence[str]) -> AsyncIterator[Sequence[Image]]:
        """The images of these ids that exist, in batches that fit a request line, one request each.

        A cloud that cannot list by ids refuses, or returns other images.
        """
        for begin in range(0, len(image_ids), IDS_PER_REQUEST):
            batch = image_ids[begin : begin + IDS_PER_REQUEST]
            path = f"/images?limit={IDS_PER_REQUEST}&id=in:{','.join(quote(each, safe='') for each in batch)}"
            page = await self._session.read(self._endpoint, path, _PAGE)
            yield [record.image() for record in page.images if is_id(record.id)]

    def _is_own(self, record: ImageRecord) -> bool:
        """Whether the image belongs to the project: a cloud may list visible images of others."""
        is_foreign = record.owner and self._project_id and record.owner != self._project_id
        return is_id(record.id) and not is_foreign


def _since(moment_s: float | None) -> str | None:
    return None if moment_s is None else f"gte:{iso_utc(moment_s)}"


def _exactly(name: str) -> str:
    """The name as a filter. One that begins with `in:` would be read as a list, so it is sent as one."""
    if not name.startswith("in:"):
        return name
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'in:"{quoted}"'
