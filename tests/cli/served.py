"""A sandbox in a thread of this process, and the clouds.yaml that leads to it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from batchexport.sandbox import Sandbox, SandboxSettings, SandboxVolume, clouds_yaml, serve
from tests.cli.clouds import define

IDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(1, 6)]


def volumes(*, statuses: list[str] | tuple[Any, ...] = (), size_gib: int = 10) -> tuple[SandboxVolume, ...]:
    """Five volumes; `statuses` are those of the first ones, the others are available."""
    padded = [*statuses, *["available"] * (len(IDS) - len(statuses))]
    return tuple(
        SandboxVolume(volume_id=volume_id, name=f"vol-{number}", size_gib=size_gib, status=status)
        for number, (volume_id, status) in enumerate(zip(IDS, padded, strict=True), 1)
    )


@contextmanager
def served(*volumes: SandboxVolume, **settings: Any) -> Iterator[Sandbox]:
    """The cloud `served` is there while the context lasts; yields the running sandbox."""
    ready, stop = threading.Event(), asyncio.Event()
    running: list[Any] = []

    async def run() -> None:
        running.append(asyncio.get_running_loop())
        given = {"synthetic_volumes": False, "time_scale": 0.0} | settings
        async with serve(SandboxSettings(volumes=volumes, **given)) as sandbox:
            running.append(sandbox)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(10)
    loop, sandbox = running
    define(clouds_yaml(sandbox.url).replace("  sandbox:", "  served:"))
    try:
        yield sandbox
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
