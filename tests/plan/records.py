"""Records for these tests, each with one thing about it that matters."""

from batchexport.config import InUse
from batchexport.dialect import CINDER
from batchexport.model import NO_OPTIONS, Image, ImageDetails, ImageOptions, Job, Volume, VolumeDetails
from batchexport.plan import Rules

HASH = "sha512:" + "ab" * 64


def job(number=1, *, name="an-image", **options):
    return Job(
        job_id=number,
        volume_id=f"{number:08x}-0000-4000-8000-000000000000",
        image_name=name,
        options=ImageOptions(**options) if options else NO_OPTIONS,
    )


def volume(number=1, *, status="available", size_gib=10, servers=(), name="vol", **details):
    return Volume(
        volume_id=f"{number:08x}-0000-4000-8000-000000000000",
        status=status,
        size_gib=size_gib,
        name=name,
        server_ids=tuple(servers),
        details=VolumeDetails(**details),
    )


def rules(dialect=CINDER, *, in_use=InUse.FAIL, **image):
    return Rules(dialect=dialect, image=ImageOptions(**image), in_use=in_use)


def image(
    image_id="i1", *, status="active", name="an-image", created_at=100.0, size_bytes=10 * 2**30, **details
):
    given = {
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
