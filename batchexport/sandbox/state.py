"""What the services of one running sandbox share, and the journal that it survives by.

The journal holds the accepted requests: one JSON object a line, written before the request is answered. It
survives `kill -9`, because each event is one write that the system has taken over before the call returns; it
is not synced, so it does not promise to survive a power cut. A torn last line is cut off when the file is
opened again.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from aiohttp import web

from batchexport.errors import ConfigError
from batchexport.sandbox.settings import SandboxSettings
from batchexport.sandbox.signatures import KeyLock
from batchexport.sandbox.weather.conditions import Conditions
from batchexport.sandbox.world import Event, World

DECODER = msgspec.json.Decoder(Event)


class Journal:
    """An open journal, for one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create it. Raises ConfigError if that cannot be done or another process has it open."""
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise ConfigError(f"sandbox journal {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise ConfigError(
                f"sandbox journal {path}: another sandbox is using it",
                hint="stop that one, or name another journal",
            ) from error

    def replay(self) -> Iterator[Event]:
        """The events so far. To be used up before the first `append`: it cuts off a torn last line.

        Raises ConfigError for any other line that is no event; the file is then left as it is.
        """
        lines = self._path.read_bytes().split(b"\n")
        whole_size = sum(len(line) + 1 for line in lines[:-1])
        for number, line in enumerate(lines[:-1], start=1):
            yield self._event(line, number)
        os.ftruncate(self._file, whole_size)

    def append(self, event: Event) -> None:
        """Write one event. Raises OSError if the disk does not take it."""
        os.write(self._file, msgspec.json.encode(event) + b"\n")

    def close(self) -> None:
        """Give the file free for another process."""
        os.close(self._file)

    def _event(self, line: bytes, number: int) -> Event:
        try:
            event: Event = DECODER.decode(line)
            return event
        except msgspec.MsgspecError as error:
            raise ConfigError(
                f"sandbox journal {self._path}, line {number}: {error}",
                hint="this is no journal of this version; move it away, or name another",
            ) from error


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
    blobs: dict[str, bytes] = msgspec.field(default_factory=dict)  #: uploaded data, by image id
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
