"""Progress on stderr: bars on a terminal, a line a minute elsewhere, nothing when asked to be quiet."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Never, Protocol, TypedDict

from batchexport.cli.figures import Figures, progress_line, side_note
from batchexport.cli.talk import LogFormat, Talk, on_terminal, say

if TYPE_CHECKING:
    from tqdm import tqdm

#: Often enough to look alive, seldom enough to cost nothing.
PAINT_EVERY_S = 0.5
LINE_EVERY_S = 60.0


class Progress(Protocol):
    """One way to show how far a run is."""

    every_s: float

    def show(self) -> None:
        """Show the figures as they are now."""

    def close(self) -> None:
        """Show them for the last time."""


class _Shape(TypedDict, total=False):
    dynamic_ncols: bool
    ncols: int
    nrows: int


class Lines:
    """A line a minute, for logs and pipes."""

    every_s = LINE_EVERY_S

    def __init__(self, figures: Figures, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._figures, self._clock = figures, clock
        self._done_before, self._started = figures.done, clock()

    def show(self) -> None:
        elapsed_s = self._clock() - self._started
        say(progress_line(self._figures, done_before=self._done_before, elapsed_s=elapsed_s))

    def close(self) -> None:
        self.show()


class Bars:
    """Two bars: rows, and GiB from the moment that a size is known."""

    every_s = PAINT_EVERY_S

    def __init__(self, figures: Figures) -> None:
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # the bars are painted by a timer already: no thread is needed for it
        self._tqdm, self._figures = tqdm, figures
        self._rows = self._bar(figures.total, figures.done, "rows", "row")
        self._gib: tqdm[Never] | None = None
        self.show()

    def show(self) -> None:
        figures = self._figures
        self._rows.set_postfix_str(side_note(figures), refresh=False)
        self._rows.update(figures.done - self._rows.n)
        self._rows.refresh()
        if figures.gib_total and self._gib is None:
            self._gib = self._bar(figures.gib_total, figures.gib_done, "GiB ", "GiB")
        if self._gib is not None:
            self._gib.total = max(figures.gib_total, figures.gib_done)
            self._gib.update(figures.gib_done - self._gib.n)
            self._gib.refresh()

    def close(self) -> None:
        self.show()
        for bar in (self._rows, self._gib):
            if bar is not None:
                bar.close()

    def _bar(self, total: int, initial: int, words: str, unit: str) -> tqdm[Never]:
        bar: tqdm[Never] = self._tqdm(
            total=total,
            initial=initial,
            desc=words,
            unit=unit,
            file=sys.stderr,
            **_shape(),
        )
        return bar


def _shape() -> _Shape:
    """The size of bars: that of the terminal as it changes; a plain 80 x 24 where it tells none."""
    try:
        known = os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except OSError:
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 24}


class Silence:
    """Nothing at all."""

    every_s = LINE_EVERY_S

    def show(self) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Say nothing."""


def progress_for(figures: Figures, talk: Talk) -> Progress:
    """The way that fits where stderr goes and how much the user wants to hear."""
    if talk.quiet:
        return Silence()
    bars = on_terminal() and talk.log_format != LogFormat.JSON
    return Bars(figures) if bars else Lines(figures)


@contextmanager
def shown(progress: Progress) -> Iterator[None]:
    """Show the progress at its pace while the context lasts; needs a running event loop."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def tick() -> None:
        nonlocal timer
        timer = loop.call_later(progress.every_s, tick)
        with suppress(OSError):  # the terminal may be closed
            progress.show()

    timer = loop.call_later(progress.every_s, tick)
    try:
        yield
    finally:
        timer.cancel()
        with suppress(OSError):
            progress.close()
