"""Records for these tests, each with one thing about it that matters."""

from typing import Any

from batchexport.config import InUse
from batchexport.dialect import CINDER, Dialect
from batchexport.model import NO_OPTIONS, Image, ImageDetails, ImageOptions, Job, Volume, VolumeDetails
from batchexport.plan import Rules

HASH = "sha512:" + "ab" * 64


def job(number: int = 1, *, name: str = "an-image", **options: Any) -> Job:
    return Job(
        job_id=number,
        volume_id=f"{number:08x}-0000-4000-8000-000000000000",
        image_name=name,
        options=ImageOptions(**options) if options else NO_OPTIONS,
    )


def volume(
    number: int = 1,
    *,
    status: str = "available",
    size_gib: int | None = 10,
    servers: tuple[Any, ...] | list[str] = (),
    name: str = "vol",
    **details: Any,
) -> Volume:
    return Volume(
        volume_id=f"{number:08x}-0000-4000-8000-000000000000",
        status=status,
        size_gib=size_gib,
        name=name,
        server_ids=tuple(servers),
        details=VolumeDetails(**details),
    )


def rules(dialect: Dialect = CINDER, *, in_use: InUse = InUse.FAIL, **image: Any) -> Rules:
    return Rules(dialect=dialect, image=ImageOptions(**image), in_use=in_use)


def image(
    image_id: str = "i1",
    *,
    status: str = "active",
    name: str = "an-image",
    created_at: float = 100.0,
    size_bytes: int | None = 10 * 2**30,
    **details: Any,
) -> Image:
    given: dict[str, Any] = {
        "disk_format": "raw",
        "container_format": "bare",
        "min_disk_gib": 0,
        "virtual_bytes": None,
        "hash": HASH,
    } | details
    return Image(
        image_id=image_id,
        name=name,
        status=status,
        created_at=created_at,
        size_bytes=size_bytes,
        details=ImageDetails(**given),
    )
