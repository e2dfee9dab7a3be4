"""The same exports with nothing but aiohttp: no state file, no retries, no looking after images.

`python bare.py LIST ADDRESS` with 128 requests at a time.
"""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from pathlib import Path

import aiohttp

CONCURRENCY = 128


async def main(source: Path, address: str) -> None:
    with source.open(newline="") as file:
        rows = csv.DictReader(file)
        connector = aiohttp.TCPConnector(limit=CONCURRENCY)
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

            async def send() -> None:
                for row in rows:
                    fields = {"image_name": row["image_name"], "disk_format": "raw", "force": False}
                    body = json.dumps({"os-volume_upload_image": fields}).encode()
                    url = f"{address}/v3/p/volumes/{row['volume_id']}/action"
                    async with session.post(url, data=body, headers={"X-Auth-Token": "fast"}) as answer:
                        answer.raise_for_status()
                        json.loads(await answer.read())

            await asyncio.gather(*(send() for _ in range(CONCURRENCY)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
