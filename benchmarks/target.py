"""A cloud made for speed and nothing else: identity, volumes and images in one process, on one port.

`python target.py` prints its port. Beside the three services it answers `/count`, with what it was asked so
far, and takes `/set?name=value`: `delay` s until an image is active, `rate` exports a second with a burst of
`burst` (0 = as many as come), and the number of `volumes` in its list.
"""

from __future__ import annotations

import asyncio
import json
import time
from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from email.utils import formatdate
from typing import cast
from urllib.parse import parse_qs, urlsplit

PROJECT = "0123456789abcdef0123456789abcdef"
PAGE = 1000


def stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class World:
    """What was asked for, and what came of it."""

    def __init__(self) -> None:
        self.delay, self.rate, self.burst, self.volumes = 0.0, 0.0, 2.0, 0.0
        self.clear()

    def clear(self) -> None:
        self.images: list[tuple[str, str, str]] = []  # id, name, when it turns active; in that order
        self.active_at: list[float] = []
        self.uploading: dict[str, float] = {}
        self.requests = self.exports = self.twice = self.rejected = 0
        self.first = self.last = 0.0
        self.tokens, self.filled_at = self.burst, time.time()
        self._seen: set[str] = set()

    def has_room(self, now: float) -> bool:
        if not self.rate:
            return True
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def export(self, volume_id: str, name: str) -> str:
        now = time.time()
        self.exports += 1
        self.twice += volume_id in self._seen
        self._seen.add(volume_id)
        self.first, self.last = self.first or now, now
        image_id = f"{self.exports:08x}-1111-4000-8000-000000000000"
        self.images.append((image_id, name, stamp(now + self.delay)))
        self.active_at.append(now + self.delay)
        if self.delay:
            self.uploading[volume_id] = now + self.delay
        return image_id

    def count(self) -> dict[str, float]:
        names = ("requests", "exports", "twice", "rejected", "first", "last")
        return {name: getattr(self, name) for name in names}


class Service(asyncio.Protocol):
    """One connection. Requests come whole or in pieces, and are answered in order."""

    def __init__(self, world: World, address: str) -> None:
        self._world, self._address, self._kept = world, address, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._kept += data
        while (end := self._kept.find(b"\r\n\r\n")) >= 0:
            head = self._kept[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._kept) < end + 4 + length:
                return
            body, self._kept = self._kept[end + 4 : end + 4 + length], self._kept[end + 4 + length :]
            method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            self._reply(*self._answer(method, path, body))

    def _reply(self, status: int, content: object, more: str = "") -> None:
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        date = f"Date: {formatdate(usegmt=True)}\r\n"
        self._transport.write(f"{head}{date}{more}\r\n".encode() + body)

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, object] | tuple[int, object, str]:
        world = self._world
        if path.startswith("/set?"):
            for name, (value, *_) in parse_qs(path[5:]).items():
                setattr(world, name, float(value))
            world.clear()
            return 200, {}
        if path == "/count":
            return 200, world.count()
        world.requests += 1
        if method == "POST" and path.endswith("/action"):
            return self._export(path, body)
        if method == "POST":
            return 201, {"token": self._token()}, "X-Subject-Token: fast\r\n"
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        return 200, self._images(query) if "/images" in path else self._volumes(query)

    def _export(self, path: str, body: bytes) -> tuple[int, object] | tuple[int, object, str]:
        if not self._world.has_room(time.time()):
            self._world.rejected += 1
            return 429, {"overLimit": {"code": 429, "message": "too many requests"}}, "Retry-After: 1\r\n"
        volume_id = path.split("/")[-2]
        name = json.loads(body)["os-volume_upload_image"]["image_name"]
        image_id = self._world.export(volume_id, name)
        return 202, {"os-volume_upload_image": {"id": volume_id, "image_id": image_id, "size": 10}}

    def _images(self, query: dict[str, str]) -> object:
        times = self._world.active_at
        since = query.get("updated_at", query.get("created_at", "")).removeprefix("gte:")
        begin = bisect_left(times, datetime.fromisoformat(since).timestamp()) if since else 0
        begin = max(begin, int(query["marker"][:8], 16)) if "marker" in query else begin
        end = bisect_right(times, time.time())
        records = [
            {"id": image_id, "name": name, "status": "active", "created_at": at, "updated_at": at}
            for image_id, name, at in self._world.images[begin : min(end, begin + PAGE)]
        ]
        return {"images": records} | ({"next": "/more"} if end > begin + PAGE else {})

    def _volumes(self, query: dict[str, str]) -> object:
        now, status = time.time(), query.get("status")
        if status:
            listed = [each for each, until in self._world.uploading.items() if until > now]
            ids = sorted(listed) if status == "uploading" else []
            begin = ids.index(query["marker"]) + 1 if "marker" in query else 0
            page, more = ids[begin : begin + PAGE], len(ids) > begin + PAGE
        else:
            begin = int(query["marker"][-12:]) + 1 if "marker" in query else 0
            end = min(int(self._world.volumes), begin + PAGE)
            page, more = [volume_id(number) for number in range(begin, end)], end < self._world.volumes
        records = [{"id": each, "size": 10, "status": status or "available"} for each in page]
        return {"volumes": records, "volumes_links": [{"rel": "next", "href": "more"}] if more else []}

    def _token(self) -> object:
        paths = {"volumev3": f"/v3/{PROJECT}", "image": "/v2"}
        services = [
            {
                "type": kind,
                "endpoints": [{"interface": "public", "region": "r", "url": f"{self._address}{path}"}],
            }
            for kind, path in paths.items()
        ]
        now = time.time()
        times = {"issued_at": stamp(now), "expires_at": stamp(now + 86_400)}
        return {"methods": ["password"], "project": {"id": PROJECT, "name": "p"}, "catalog": services} | times


def volume_id(number: int) -> str:
    """The id of a volume of this cloud, and of a row of its lists."""
    return f"{number * 2654435761 & 0xFFFFFFFF:08x}-0000-4000-8000-{number:012d}"


async def main() -> None:
    world = World()
    loop = asyncio.get_running_loop()
    address = ""
    server = await loop.create_server(lambda: Service(world, address), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    print(port, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
