"""A process that begins to save an object of 20 MB, and waits for ever once two parts of it are sent."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from batchexport.objects import open_place
from batchexport.transfer import Bandwidth

SIZE = 20_000_000
SENT = 17_000_000


async def pieces() -> AsyncIterator[bytes]:
    for _ in range(0, SENT, 500_000):
        yield bytes(500_000)
    print("waits", flush=True)
    await asyncio.Event().wait()


@asynccontextmanager
async def source(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
    yield pieces()


async def main(url: str) -> None:
    async with open_place(url) as place:
        await place.save(
            "a.qcow2",
            source,
            size=SIZE,
            expected={},
            key="run-1",
            bandwidth=Bandwidth(),
            on_bytes=lambda _: None,
        )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
