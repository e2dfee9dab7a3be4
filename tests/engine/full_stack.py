"""The engine with the real client against the sandbox, all in one loop on virtual time.

Requests go over real sockets within the process, so everything that the wire can do to a client is in it.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from batchexport import cloud
from batchexport.cloud.auth import sign_in_pacing
from batchexport.cloud.auth.access_keys import RequestSigner
from batchexport.cloud.auth.tokens import TokenSource
from batchexport.cloud.http.rate_limiter import RateLimiter
from batchexport.cloud.http.session import HttpSession
from batchexport.config import CloudSettings, Limits
from batchexport.identity import SANDBOX
from batchexport.model import TargetKey
from batchexport.sandbox import SandboxSettings, clouds_yaml, serve
from batchexport.sandbox.state import DECODER
from tests.engine.fake_cloud import EPOCH
from tests.engine.fast_time import Time, fast_now


def defaults_of(kind: Any) -> dict[str, Any]:
    """The defaults of what its objects are made with."""
    defaults: dict[str, Any] = kind.__init__.__kwdefaults__
    return defaults


def now() -> Any:
    return EPOCH + fast_now()


class _Clock:
    """What a module sees of `time`."""

    time = staticmethod(now)
    monotonic = staticmethod(fast_now)


def live_by_virtual_time(monkeypatch: pytest.MonkeyPatch, is_dead: Any) -> None:
    """Have the client, its tokens and its gate take the time from the loop; a dead one sends nothing."""
    monkeypatch.setitem(defaults_of(HttpSession), "now", now)
    monkeypatch.setitem(defaults_of(HttpSession), "steady", fast_now)
    monkeypatch.setitem(defaults_of(TokenSource), "now", now)
    monkeypatch.setitem(defaults_of(RequestSigner), "now", now)
    monkeypatch.setitem(defaults_of(RequestSigner), "steady", fast_now)
    monkeypatch.setattr(sign_in_pacing, "time", _Clock)
    request = aiohttp.ClientSession._request

    async def on_the_way(*args: Any, **kwargs: Any) -> Any:
        if is_dead():
            raise aiohttp.ClientConnectionError("dead processes send nothing")
        Time.on_the_way += 1
        try:
            return await request(*args, **kwargs)
        finally:
            Time.on_the_way -= 1

    monkeypatch.setattr(aiohttp.ClientSession, "_request", on_the_way)


class Stack:
    """A sandbox that remembers in its journal, and a client for each run."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.journal = folder / "cloud.journal"
        self.settings = SandboxSettings(journal=self.journal, time_scale=1.0, force_upload=True, **settings)
        self._clouds = folder / "clouds.yaml"
        self.counts: dict[Any, Any] = {}
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(self._clouds))
        self._dead = False
        live_by_virtual_time(monkeypatch, lambda: self._dead)

    def kill_client(self) -> None:
        """Let the client send nothing more: what it was is on the disk."""
        self._dead = True

    @contextlib.asynccontextmanager
    async def connect(self, key: TargetKey, rate: float) -> AsyncIterator[Any]:
        """What the engine connects with: a sandbox of its own as long as it lasts."""
        self._dead = False
        async with serve(self.settings, now=now) as sandbox:
            self._clouds.write_text(clouds_yaml(sandbox.url))
            access = CloudSettings(cloud="sandbox", dialect="cinder")
            gate = RateLimiter(0.0, clock=fast_now)
            try:
                async with cloud.connect(
                    key, access, limits=Limits(), limiter=gate, identity=SANDBOX
                ) as client:
                    yield client
            finally:
                for name, count in sandbox.counts.items():
                    self.counts[name] = self.counts.get(name, 0) + count

    def events(self) -> Any:
        """Everything that the cloud ever accepted."""
        return [DECODER.decode(line) for line in self.journal.read_bytes().splitlines()]
