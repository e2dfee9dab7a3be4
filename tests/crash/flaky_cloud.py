"""A cloud in a process of its own that loses, delays and garbles what it is asked.

``python -m tests.crash.flaky_cloud --folder F`` serves a sandbox with its journal in ``F/cloud.journal``,
and in front of it a proxy that does to each change what `fate_of` says and notes it in ``F/cloud.requests``.
``F/clouds.yaml`` is there once it answers. It ends with SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse, ClientSession, DummyCookieJar, ServerDisconnectedError, web
from msgspec.structs import replace

from batchexport.sandbox import Faults, SandboxServer, SandboxSettings, clouds_yaml, serve
from batchexport.sandbox.weather import FAULTS, Weather, read_weather

JOURNAL, REQUESTS, CLOUDS, COUNTS = "cloud.journal", "cloud.requests", "clouds.yaml", "cloud.counts"
#: Longest time that a request is held back: the settling time of a run must be well above it.
LONGEST_DELAY_S = 0.25


class Fate(StrEnum):
    """What becomes of one request that changes something."""

    ANSWERED = "answered"
    LOST = "lost"  #: the connection breaks, the request was never delivered
    UNANSWERED = "unanswered"  #: delivered, then the connection breaks
    LATE = "late"  #: the connection breaks, and the request is delivered all the same, later
    HALF = "half"  #: delivered, and the answer breaks off in the middle
    SLOW = "slow"  #: delivered after a while, and answered after another
    BAD_GATEWAY = "502"  #: delivered, and the gateway answers
    GATEWAY_TIMEOUT = "504"  #: the same
    ERROR_AFTER = "500 after"  #: delivered, and the service fails afterwards
    ERROR_BEFORE = "500 before"  #: the service fails at once
    UNAVAILABLE = "503"  #: never delivered
    UNAVAILABLE_AFTER = "503 after"  #: delivered all the same: no gateway should do so


#: Those that leave the client without the truth.
WITHOUT_ANSWER = frozenset(Fate) - {Fate.ANSWERED, Fate.SLOW, Fate.UNAVAILABLE}
#: What happens unless others are asked for: all but what no gateway should do.
USUAL = tuple(fate for fate in Fate if fate not in (Fate.ANSWERED, Fate.UNAVAILABLE_AFTER))


def fate_of(seed: int, subject: str, number: int, *, share: float, fates: Sequence[Fate] = USUAL) -> Fate:
    """What becomes of the `number`-th change of a subject. Pure."""
    drawn = random.Random(f"{seed}/{subject}/{number}")
    return drawn.choice(fates) if drawn.random() < share else Fate.ANSWERED


class Proxy:
    """Stands between the client and the sandbox."""

    def __init__(
        self, http: ClientSession, upstream: str, fate: Callable[[str, int], Fate], log: Path, *, share: float
    ) -> None:
        self._http = http
        self._upstream = upstream
        self._fate = fate
        self._log = log
        self._share = share
        self._asked: Counter[str] = Counter()
        self._reads = random.Random(share)
        self._delays = random.Random(share)
        self._later: set[asyncio.Task[None]] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request, with what is to go wrong with it."""
        body = await request.read()

        async def deliver() -> web.Response:
            return await self._deliver(request, body)

        if request.path.startswith("/identity"):
            return await deliver()
        if request.method != "GET":
            return await self._change(request, deliver)
        if self._reads.random() < self._share / 5:
            return self._reads.choice((_gateway_says(502), _gateway_says(503), _gateway_says(504)))
        return await deliver()

    async def _change(
        self, request: web.Request, deliver: Callable[[], Awaitable[web.Response]]
    ) -> web.StreamResponse:
        subject = subject_of(request.method, request.path)
        self._asked[subject] += 1
        fate = self._fate(subject, self._asked[subject])
        with self._log.open("a") as log:
            log.write(json.dumps({"at": time.time(), "subject": subject, "fate": fate}) + "\n")
        match fate:
            case Fate.ANSWERED:
                return await deliver()
            case Fate.LOST:
                return _broken(request)
            case Fate.UNANSWERED:
                await deliver()
                return _broken(request)
            case Fate.LATE:
                self._in_a_while(deliver)
                return _broken(request)
            case Fate.HALF:
                return await _half(request, await deliver())
            case Fate.SLOW:
                await self._wait()
                answer = await deliver()
                await self._wait()
                return answer
            case Fate.ERROR_BEFORE | Fate.UNAVAILABLE:
                return _gateway_says(int(fate[:3]))
            case _:
                await deliver()
                return _gateway_says(int(fate[:3]))

    def _in_a_while(self, deliver: Callable[[], Awaitable[web.Response]]) -> None:
        async def later() -> None:
            await self._wait()
            await deliver()

        task = asyncio.create_task(later())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _wait(self) -> None:
        await asyncio.sleep(self._delays.uniform(0.02, LONGEST_DELAY_S))

    async def _deliver(self, request: web.Request, body: bytes) -> web.Response:
        url = self._upstream + request.path_qs
        try:
            async with self._http.request(
                request.method, url, headers=request.headers, data=body, allow_redirects=False
            ) as answer:
                return web.Response(
                    status=answer.status, body=await answer.read(), headers=_passed_on(answer)
                )
        except ServerDisconnectedError:  # the weather behind this proxy
            return _broken(request)


def subject_of(method: str, path: str) -> str:
    """What a change is about: a volume to export, a snapshot to delete, or all that are made of one kind."""
    if path.endswith("/action"):
        return path.split("/")[-2]
    return f"{method} {path.split('/')[-1]}"


def _passed_on(answer: ClientResponse) -> dict[str, str]:
    framing = ("content-length", "transfer-encoding", "connection")
    return {name: text for name, text in answer.headers.items() if name.lower() not in framing}


def _broken(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, whole: web.Response) -> web.StreamResponse:
    body = whole.body if isinstance(whole.body, bytes) else b""
    answer = web.StreamResponse(status=whole.status, headers={"Content-Type": "application/json"})
    answer.content_length = len(body)
    await answer.prepare(request)
    await answer.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return answer


def _gateway_says(status: int) -> web.Response:
    return web.Response(status=status, text=f"<html><body><h1>{status}</h1></body></html>")


def hastened(weather: Weather, pace: float, seed: int) -> Weather:
    """The weather with every length of time multiplied by `pace`; clocks stay as wrong as they are."""
    faults: dict[str, Any] = {"seed": seed}
    for name in FAULTS:
        fault = getattr(weather, name)
        if fault is not None and name != "clocks":
            lengths = [each for each in fault.__struct_fields__ if each == "seconds" or each.endswith("_s")]
            faults[name] = replace(fault, **{each: getattr(fault, each) * pace for each in lengths})
    return replace(weather, **faults)


def _servers(path: Path | None) -> list[SandboxServer]:
    if path is None:
        return []
    held: dict[str, list[str]] = json.loads(path.read_text())
    return [
        SandboxServer(server_id=each, name=each[:8], volume_ids=volumes) for each, volumes in held.items()
    ]


async def run(folder: Path, proxy_share: float, fates: Sequence[Fate], settings: SandboxSettings) -> None:
    """Serve until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)

    def fate(subject: str, number: int) -> Fate:
        return fate_of(settings.faults.seed, subject, number, share=proxy_share, fates=fates)

    async with (
        serve(settings) as sandbox,
        ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False, max_field_size=65_536) as http,
    ):
        proxy = Proxy(http, sandbox.url, fate, folder / REQUESTS, share=proxy_share)
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        ready = folder / f".{CLOUDS}"
        ready.write_text(clouds_yaml(f"http://{host}:{port}"))
        ready.rename(folder / CLOUDS)
        await ended.wait()
        (folder / COUNTS).write_text(json.dumps(sandbox.counts))
        await runner.cleanup()


def main(arguments: Sequence[str]) -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="flaky_cloud")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.0, help="of requests that something happens to")
    parser.add_argument("--fate", type=Fate, action="append", default=[], help="only these")
    parser.add_argument("--fail-share", type=float, default=0.0, help="of exports that fail in the cloud")
    parser.add_argument("--weather", default="fair", help="of the sandbox: a name or a TOML file")
    parser.add_argument("--weather-pace", type=float, default=1.0, help="its seconds are multiplied by this")
    parser.add_argument("--servers", type=Path, help="file of servers: id, and the volumes it holds")
    parser.add_argument("--time-scale", type=float, default=0.0005, help="500 GiB take 0.5 s")
    chosen = parser.parse_args(arguments)
    settings = SandboxSettings(
        journal=chosen.folder / JOURNAL,
        time_scale=chosen.time_scale,
        faults=Faults(fail_share=chosen.fail_share, seed=chosen.seed),
        servers=_servers(chosen.servers),
        force_upload=True,
        weather=hastened(read_weather(chosen.weather), chosen.weather_pace, chosen.seed),
    )
    asyncio.run(run(chosen.folder, chosen.share, chosen.fate or USUAL, settings))


if __name__ == "__main__":
    main(sys.argv[1:])
