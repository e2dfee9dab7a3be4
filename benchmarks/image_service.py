"""An image service made for speed: it sends images of one size, and takes and counts what is sent to it.

`python image_service.py MIB` prints its port. As a source (`source` behind it) it has an image of every id,
else those that were made. What is uploaded is counted and not hashed: where the size is right, its own hash
is told.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
import time
from typing import cast

from target import PROJECT, stamp

#: Without carriage returns, so that the end of a chunked body is found without reading its chunks.
BLOCK = random.Random(1).randbytes(2**20).replace(b"\r", b"\n")


class World:
    """The images of one service."""

    def __init__(self, mib: int, *, is_source: bool) -> None:
        self.is_source = is_source
        self.size = mib * 2**20
        hashing = hashlib.sha512()
        for _ in range(mib):
            hashing.update(BLOCK)
        self.hash = hashing.hexdigest()
        self.created: dict[str, dict[str, object]] = {}

    def image(self, image_id: str) -> dict[str, object] | None:
        """The record of an image; None = there is none."""
        if not self.is_source and image_id not in self.created:
            return None
        whole = {"status": "active", "size": self.size, "os_hash_algo": "sha512", "os_hash_value": self.hash}
        plain = {"id": image_id, "name": "x", "disk_format": "raw", "container_format": "bare"}
        return plain | self.created.get(image_id, whole)

    def uploaded(self, image_id: str, size: int) -> None:
        """Note that so many bytes came; nobody waits for the image where it was not created."""
        told = {"status": "active", "size": size, "os_hash_algo": "sha512"}
        right = self.hash if size == self.size else "0" * 128
        self.created[image_id] = self.created.get(image_id, {}) | told | {"os_hash_value": right}


class Service(asyncio.Protocol):
    """One connection."""

    def __init__(self, world: World, address: list[str]) -> None:
        self._world, self._address, self._kept = world, address, b""
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._upload: str | None = None
        self._left: int | None = 0  # of an upload; None = until the last chunk
        self._came = 0
        self._sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=4 * 2**20)

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    def connection_lost(self, error: Exception | None) -> None:
        if self._sending is not None:
            self._sending.cancel()

    def data_received(self, data: bytes) -> None:
        if self._upload is not None:
            self._take(data)
            return
        self._kept += data
        if (end := self._kept.find(b"\r\n\r\n")) < 0:
            return
        head, rest = self._kept[:end].decode(), self._kept[end + 4 :]
        method, path, _ = head.split("\r\n", 1)[0].split(" ")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
        }
        length = int(fields.get("content-length", 0))
        if method == "PUT":
            self._kept, self._upload, self._came = b"", path.split("/")[-2], 0
            self._left = None if "transfer-encoding" in fields else length
            self._take(rest)
        elif len(rest) >= length:
            self._kept = rest[length:]
            self._answer(method, path, rest[:length])

    def _take(self, data: bytes) -> None:
        self._came += len(data)
        if self._left is not None:
            if self._came < self._left:
                return
        elif not data.endswith(b"0\r\n\r\n"):
            return
        assert self._upload is not None
        # The frames of chunks are a thousandth of the data: near enough for those that nobody asks for.
        self._world.uploaded(self._upload, self._came if self._left is not None else self._world.size)
        self._upload = None
        self._reply(204, None)

    def _answer(self, method: str, path: str, body: bytes) -> None:
        if method == "GET" and path.endswith("/file"):
            self._sending = asyncio.get_running_loop().create_task(self._send())
        elif method == "GET" and path.rstrip("/") == "/v3":
            links = [{"rel": "self", "href": f"{self._address[0]}/v3/"}]
            self._reply(200, {"version": {"id": "v3.14", "status": "stable", "links": links}})
        elif method == "GET" and "/images?" in path:
            self._reply(200, {"images": []})
        elif method == "GET":
            found = self._world.image(path.rpartition("/")[2])
            self._reply(200 if found else 404, found or {})
        elif "/auth/tokens" in path:
            self._reply(201, {"token": self._token()}, "X-Subject-Token: fast\r\n")
        else:
            fields = json.loads(body)
            self._world.created[fields["id"]] = {**fields, "status": "queued"}
            self._reply(201, {})

    async def _send(self) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {self._world.size}\r\n"
        self._transport.write(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode())
        for _ in range(self._world.size // len(BLOCK)):
            await self._can_write.wait()
            self._transport.write(BLOCK)

    def _reply(self, status: int, content: object, more: str = "") -> None:
        body = b"" if content is None else json.dumps(content).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{more}"
        head += "" if content is None else f"Content-Length: {len(body)}\r\n"
        self._transport.write(f"{head}\r\n".encode() + body)

    def _token(self) -> object:
        endpoint = {"interface": "public", "region": "r", "url": f"{self._address[0]}/v2"}
        storage = endpoint | {"url": f"{self._address[0]}/v3/{PROJECT}"}
        services = [
            {"type": "image", "endpoints": [endpoint]},
            {"type": "volumev3", "endpoints": [storage]},
        ]
        times = {"issued_at": stamp(time.time()), "expires_at": stamp(time.time() + 86_400)}
        return {"methods": ["password"], "project": {"id": PROJECT, "name": "p"}, "catalog": services} | times


async def main(mib: int, kind: str = "") -> None:
    world, address = World(mib, is_source=kind == "source"), [""]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Service(world, address), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    address[0] = f"http://127.0.0.1:{port}"
    print(port, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main(int(sys.argv[1]), *sys.argv[2:]))
    except ImportError:
        asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
