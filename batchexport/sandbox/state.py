"""What the services of one running sandbox share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
from aiohttp import web

from batchexport.sandbox.journal import Journal
from batchexport.sandbox.settings import SandboxSettings
from batchexport.sandbox.signatures import KeyLock
from batchexport.sandbox.weather.conditions import Conditions
from batchexport.sandbox.world import Event, World


class SandboxState(msgspec.Struct, kw_only=True):
    """The settings, the world and what was counted since the start."""

    settings: SandboxSettings
    world: World
    journal: Journal | None
    now: Callable[[], float]  #: seconds since the epoch; earlier ones where a replica lags
    conditions: Conditions
    requests: int = 0  #: the number of the latest request, from 1
    counts: Counter[str] = msgspec.field(default_factory=Counter)  #: requests by kind
    key_locks: dict[str, KeyLock] = msgspec.field(default_factory=dict)  #: by access key
    token_generation: int = 0  #: only tokens of this generation are accepted

    def record(self, event: Event) -> None:
        """Accept a request for good: first on file, then in the world."""
        if self.journal is not None:
            self.journal.append(event)
        self.world.apply(event)


STATE = web.AppKey("STATE", SandboxState)


def kind_of(request: web.Request) -> str:
    """What a request asks for, in the name of the function that answers it: `post_action`, `list_images` …"""
    if request.match_info.http_exception is not None:
        return "unknown"
    return str(request.match_info.handler.__name__)
