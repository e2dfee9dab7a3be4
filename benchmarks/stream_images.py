"""Streams images from one image service to another as deliveries do; prints the seconds that each took.

`python stream_images.py CLOUDS_YAML COUNT`: from the cloud `source` to the cloud `destination`, all at once.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from functools import partial
from pathlib import Path

from batchexport.cloud import Cloud, connect
from batchexport.config import CloudSettings, Limits
from batchexport.engine.deliver.image_writer import MAX_TURNS, Content, ImageWriter
from batchexport.engine.deliver.source import source_image
from batchexport.model import TargetKey
from batchexport.transfer import Bandwidth, TransferSlots

LIMITS = Limits(requests_per_second=0, concurrency=64)


async def copied(source: Cloud, there: Cloud, slots: TransferSlots) -> float:
    """Seconds that one image takes. Raises where the copy is not whole."""
    began, image_id = time.monotonic(), str(uuid.uuid4())
    image = await source_image(source, image_id)
    download = partial(source.image.data.download, image_id)
    content = Content(
        size=image.size,
        expected=image.expected,
        fields=image.fields,
        open_from=lambda offset: download(offset=offset),
    )
    writer = ImageWriter(
        cloud=there,
        marker=uuid.uuid4().hex,
        slot=partial(slots.slot, "destination"),
        bandwidth=Bandwidth(),
        begin=lambda: lambda _: None,
    )

    async def no_record(_turn: int, _image_id: str) -> None:
        """Nothing is kept: what is measured is the stream."""

    made = [str(uuid.uuid4()) for _ in range(MAX_TURNS)]
    written = await writer.write(content, made.__getitem__, first=0, on_turn=no_record)
    assert written.is_new, "nothing was sent"
    return time.monotonic() - began


async def main(clouds: Path, count: int) -> None:
    of = [CloudSettings(cloud=name, clouds_file=clouds) for name in ("source", "destination")]
    slots = TransferSlots(count)
    async with (
        connect(TargetKey(), of[0], limits=LIMITS) as source,
        connect(TargetKey(), of[1], limits=LIMITS) as there,
    ):
        took = await asyncio.gather(*(copied(source, there, slots) for _ in range(count)))
    print(json.dumps(took))


if __name__ == "__main__":
    work = main(Path(sys.argv[1]), int(sys.argv[2]))
    try:
        import uvloop

        uvloop.run(work)
    except ImportError:
        asyncio.run(work)
