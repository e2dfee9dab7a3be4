"""The file of accepted requests: one JSON object a line, written before the request is answered.

It survives `kill -9`, because each event is one write that the system has taken over before the call
returns; it is not synced, so it does not promise to survive a power cut. A torn last line is cut off when
the file is opened again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from batchexport.errors import ConfigError
from batchexport.sandbox.world import Event

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
