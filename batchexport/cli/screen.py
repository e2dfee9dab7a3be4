"""Stderr during a run: lines scroll above a status that stays, and a slow reader blocks nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import UnsupportedOperation
from typing import Protocol

from batchexport.background_writer import BackgroundWriter, DescriptorSink, drain_all
from batchexport.cli.console import LogFormat, TerminalConsole, json_line, lines_go_to
from batchexport.report.text import count_of, truncate

#: Everything from the cursor on is gone.
_CLEAR = "\x1b[J"
#: How long a process that exits at once waits for its last lines to be written.
_LAST_WORDS_S = 0.3


class _Stream(Protocol):
    def write(self, text: str, /) -> int: ...
    def flush(self) -> None: ...


class Screen:
    """Lines, and under them a status that is painted over and over.

    Between two writes the cursor stands at the beginning of the status: however a terminal wraps it when it
    becomes narrower, all of it is behind the cursor and cleared.
    """

    def __init__(self, stream: _Stream, *, columns: Callable[[], int] | None = None) -> None:
        self._stream = stream
        self._columns = columns or terminal_columns
        self._lines = list[str]()

    @property
    def is_taking(self) -> bool:
        """Whether what was written before is through: else there is no use in painting on top."""
        return not isinstance(self._stream, BackgroundWriter) or self._stream.is_idle

    def line(self, text: str) -> None:
        """Write a line, above the status."""
        self._write(f"{_CLEAR if self._lines else ''}{text}\n{self._status}")

    def paint(self, lines: Sequence[str]) -> None:
        """Put these lines in the place of the status; none take it away."""
        if not self.is_taking:
            return
        width = max(1, self._columns() - 1)
        self._lines = [truncate(line, width) for line in lines]
        self._write(f"{_CLEAR}{self._status}")

    def leave(self) -> None:
        """The status stays as it is, and what comes next is written under it."""
        text = "".join(f"{line}\n" for line in self._lines)
        self._lines = []
        self._write(text)

    @property
    def _status(self) -> str:
        up = f"\x1b[{len(self._lines) - 1}A" if len(self._lines) > 1 else ""
        return "\n".join(self._lines) + f"\r{up}" if self._lines else ""

    def _write(self, text: str) -> None:
        # A closed stderr or a full disk must not end a run.
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


@contextmanager
def unblocked_stderr(console: TerminalConsole) -> Iterator[Screen]:
    """Stderr as a screen while the context lasts; writing to it never blocks."""

    def dropped(count: int) -> str:
        text = f"{count_of(count, 'line')} dropped here: stderr was not read in time"
        if console.log_format == LogFormat.JSON:
            text = json_line(datetime.now(UTC), "warning", "batchexport", text, {})
        return f"{text}\n"

    writer = None
    with suppress(AttributeError, ValueError, UnsupportedOperation):
        writer = BackgroundWriter(
            DescriptorSink(sys.stderr.fileno()), dropped=dropped, encoding=sys.stderr.encoding or "utf-8"
        )
    screen = Screen(writer or sys.stderr)
    try:
        with lines_go_to(screen.line):
            yield screen
    finally:
        if writer is not None:
            writer.close()


def leave_at_once(code: int) -> None:
    """Exit now, after a moment for the last lines to be written."""
    drain_all(_LAST_WORDS_S)
    os._exit(code)


def terminal_columns() -> int:
    """The width of the terminal, at each moment; 80 where it tells none."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80
