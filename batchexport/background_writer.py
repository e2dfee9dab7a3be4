"""Text for readers who may be slow or stuck: written by a thread, so that nobody who writes ever waits."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from batchexport.files import check_no_database

#: What waits for a reader at most; what comes on top is dropped and counted.
MAX_WAITING_BYTES = 16 * 1024**2
#: How long the end waits for a reader who takes nothing.
CLOSE_S = 3.0
#: How often a file is looked for at its place: log rotation moves it away.
_LOOK_EVERY_S = 1.0
_STEP_S = 0.02

_open: WeakSet[BackgroundWriter] = WeakSet()


class Sink(Protocol):
    """Where the bytes go. `write` may block; it runs in the thread alone."""

    def write(self, data: bytes) -> None:
        """Write all of it. Raises OSError."""

    def close(self) -> None:
        """Let go of it."""


class DescriptorSink:
    """An open file of this process, as stdout; it stays open."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        _write_all(self._descriptor, data)

    def close(self) -> None:
        """Nothing: it belongs to the process."""


class FileSink:
    """A file that is appended to; opened again when it was moved away, or could not be written."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises OSError where it cannot be opened now."""
        self._path, self._clock = path, clock
        self._descriptor: int | None = None
        self._looked_at = clock()
        self._is_torn = False  # the last line may be half there
        self._reopen()

    def write(self, data: bytes) -> None:
        if self._descriptor is None or self._was_moved():
            self._reopen()
        assert self._descriptor is not None
        torn, self._is_torn = self._is_torn, True
        _write_all(self._descriptor, b"\n" + data if torn else data)
        self._is_torn = False

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    def _reopen(self) -> None:
        self.close()
        check_no_database(self._path)
        # Without a reader, opening a pipe would wait for one.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._path, flags, 0o666)
        except OSError as error:
            if error.errno == errno.ENXIO:
                raise OSError(errno.ENXIO, "no process reads from this pipe", str(self._path)) from error
            raise
        os.set_blocking(self._descriptor, True)
        self._is_torn = False

    def _was_moved(self) -> bool:
        if self._descriptor is None or self._clock() - self._looked_at < _LOOK_EVERY_S:
            return False
        self._looked_at = self._clock()
        opened = os.fstat(self._descriptor)
        if not stat.S_ISREG(opened.st_mode):
            return False
        try:
            there = self._path.stat()
        except OSError:
            return True
        return (there.st_dev, there.st_ino) != (opened.st_dev, opened.st_ino)


class BackgroundWriter:
    """Takes text at once and writes it when its reader takes it.

    `dropped` words what is written in place of texts that found no room. `trouble` is told, in the thread,
    when writing fails for the first time, and again after it worked in between. A pipe whose reader went
    away is broken for good: the next `write` raises that OSError.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        dropped: Callable[[int], str],
        trouble: Callable[[OSError], object] = lambda error: None,
        encoding: str = "utf-8",
        max_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._sink, self._dropped_words, self._trouble = sink, dropped, trouble
        self._encoding, self._max_bytes = encoding, max_bytes
        self._waiting = deque[bytes]()
        self._waiting_bytes = 0
        self._dropped = 0
        self._written = 0  # batches taken by the sink: tells a slow reader from a stuck one
        self._is_busy = False
        self._broken: OSError | None = None
        self._failed = False
        self.closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="background writer", daemon=True)
        self._thread.start()
        _open.add(self)

    @property
    def is_idle(self) -> bool:
        """Whether all that was taken is written."""
        return not (self._waiting or self._is_busy)

    def write(self, text: str) -> int:
        """Take the text, or count it as dropped. Never waits. Raises OSError once the reader is gone."""
        data = text.encode(self._encoding, "replace")
        with self._changed:
            if self._broken is not None:
                raise self._broken
            if self.closed or self._waiting_bytes + len(data) > self._max_bytes:
                self._dropped += 1
            else:
                self._waiting.append(data)
                self._waiting_bytes += len(data)
                self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Nothing: what was taken is written as soon as it can be."""

    def drain(self, patience_s: float = CLOSE_S) -> None:
        """Wait until all is written, as long as the reader takes something every `patience_s` seconds."""
        progress, patient_until = -1, time.monotonic() + patience_s
        while not self.is_idle and self._thread.is_alive():
            if self._written != progress:
                progress, patient_until = self._written, time.monotonic() + patience_s
            elif time.monotonic() >= patient_until:
                return
            time.sleep(_STEP_S)

    def close(self) -> None:
        """Write what waits, within reason, and take nothing more."""
        self.drain()
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self._thread.join(_STEP_S)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.wait_for(lambda: self._waiting or self.closed)
                if not self._waiting:
                    break
                batch, texts = self._next_batch()
                self._is_busy = True
            self._put(batch, texts)
        self._sink.close()

    def _next_batch(self) -> tuple[bytes, int]:
        """What is written at once, enough to be fast, little enough that a slow reader shows; and how many
        texts are lost if it is not.
        """
        parts = list[bytes]()
        size = 0
        while self._waiting and size < 65536:
            parts.append(self._waiting.popleft())
            size += len(parts[-1])
        self._waiting_bytes -= size
        texts = len(parts)
        if self._dropped and not self._waiting:
            parts.append(self._dropped_words(self._dropped).encode(self._encoding, "replace"))
            texts += self._dropped
            self._dropped = 0
        return b"".join(parts), texts

    def _put(self, batch: bytes, texts: int) -> None:
        try:
            self._sink.write(batch)
        except OSError as error:
            self._failed_with(error, texts)
        else:
            self._failed = False
        self._written += 1

    def _failed_with(self, error: OSError, texts: int) -> None:
        if error.errno == errno.EPIPE:
            with self._changed:
                self._broken = error
                self._waiting.clear()
                self._waiting_bytes = 0
            return
        self._dropped += texts
        if not self._failed:
            self._trouble(error)
        self._failed = True


def drain_all(patience_s: float) -> None:
    """Before a process leaves at once: what waits is written, if its readers take it now."""
    for writer in list(_open):
        if not writer.closed:
            writer.drain(patience_s)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
