"""Progress on stderr: bars on a terminal, a line a minute elsewhere, nothing when asked to be quiet."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm

from batchexport.cli.console import LogFormat, TerminalConsole, err, on_terminal
from batchexport.cli.counters import (
    NO_ETA,
    Counters,
    outlook_parts,
    progress_line,
    side_note,
    slowest_line,
)
from batchexport.cli.screen import Screen, terminal_columns
from batchexport.errors import StateError
from batchexport.model import TargetKey
from batchexport.report.eta import MAX_ENDINGS, Eta, estimate
from batchexport.report.text import display_width, number, truncate
from batchexport.report.totals import Totals
from batchexport.store import StateReader, UnderWay

log = logging.getLogger(__name__)

#: Often enough to look alive, seldom enough to cost nothing.
PAINT_EVERY_S = 0.5
LINE_EVERY_S = 60.0
#: How often the pace is reckoned anew, which reads some thousand rows.
_PACE_EVERY_S = 5.0
_MIN_BAR, _MAX_BAR = 8, 40


class RatedCloud(Protocol):
    """A cloud that knows how many requests it takes."""

    @property
    def requests_per_second(self) -> float: ...


class Meter:
    """Reads from its state file how far a run is, and reckons the pace of this process."""

    def __init__(
        self,
        reader: StateReader,
        clouds: Mapping[TargetKey, RatedCloud] | None = None,
        *,
        max_rate: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`max_rate` = requests/s that the settings allow; 0 = they do not limit them."""
        self._reader, self._clouds, self._max_rate, self._now = reader, clouds or {}, max_rate, now
        self._began_at = now()
        self._figures = Counters(totals=Totals.of([]))
        self._momentum, self._under_way = NO_ETA, list[UnderWay]()
        self._reckoned_at = 0.0

    def counters(self, *, last: bool = False) -> Counters:
        """The counters now; with `last`, their pace too. As before where nothing can be read."""
        try:
            self._figures = self._read(last)
        except StateError as error:
            log.debug("the state file could not be read for the progress: %s", error)
        return self._figures

    def _read(self, last: bool) -> Counters:
        now, totals = self._now(), Totals.of(self._reader.tallies())
        if last or now - self._reckoned_at >= _PACE_EVERY_S or now < self._reckoned_at:
            self._reckoned_at = now
            self._under_way = self._reader.under_way()
            self._momentum = self._reckoned(totals, now)
        return Counters(
            totals=totals,
            at=now,
            eta=self._momentum,
            under_way=self._under_way,
            stalled=self._reader.stalled(now),
            servers_down=len(self._reader.servers()),
            rates=list(filter(self._is_low, [cloud.requests_per_second for cloud in self._clouds.values()])),
        )

    def _reckoned(self, totals: Totals, now: float) -> Eta:
        endings = [
            each for each in self._reader.latest_endings(MAX_ENDINGS) if each.ended_at >= self._began_at
        ]
        return estimate(totals, endings, began_at=self._began_at, now=now, under_way=self._under_way)

    def _is_low(self, rate: float) -> bool:
        return rate > 0 and (self._max_rate == 0 or rate < self._max_rate * 0.999)


class Progress(Protocol):
    """One way to show how far a run is."""

    every_s: float

    def show(self) -> None:
        """Show the counters as they are now."""

    def close(self) -> None:
        """Show them for the last time."""


class Lines:
    """A line a minute, for logs and pipes."""

    every_s = LINE_EVERY_S

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def show(self) -> None:
        err(progress_line(self._meter.counters()))

    def close(self) -> None:
        err(progress_line(self._meter.counters(last=True)))


class Bars:
    """A bar of rows, one of GiB once a size is known, and the exports that take longest."""

    every_s = PAINT_EVERY_S

    def __init__(self, meter: Meter, screen: Screen) -> None:
        self._meter, self._screen = meter, screen
        self.show()

    def show(self) -> None:
        self._screen.paint(bar_lines(self._meter.counters(), terminal_columns() - 1, blocks=_has_blocks()))

    def close(self) -> None:
        lines = bar_lines(self._meter.counters(last=True), terminal_columns() - 1, blocks=_has_blocks())
        self._screen.paint(lines)
        self._screen.leave()


class Silence:
    """Nothing at all."""

    every_s = LINE_EVERY_S

    def show(self) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Say nothing."""


def bar_lines(counters: Counters, width: int, *, blocks: bool = True) -> list[str]:
    """The bars as lines of at most `width` columns; `blocks` = the font has them."""
    rows = f"{number(counters.done)} of {number(counters.total)}"
    lines = _bar("rows", _share(counters.done, counters.total), rows, side_note(counters), width, blocks)
    notes = ", ".join(outlook_parts(counters))
    if counters.gib_total:
        share = _share(counters.gib_done, counters.gib_total)
        lines += _bar("GiB ", share, counters.gib_words, notes, width, blocks)
    elif notes:
        lines.append(notes)
    slowest = slowest_line(counters)
    return [truncate(line, width) for line in (*lines, slowest) if line]


def _share(done: int, total: int) -> float:
    return min(1.0, done / total) if total else 1.0


def _bar(name: str, share: float, amount: str, note: str, width: int, blocks: bool) -> list[str]:
    """A bar with its note beside it, or under it where there is no room."""
    head, tail = f"{name} {int(share * 100):>3}% ", f" {amount}"
    room = width - display_width(head) - display_width(tail) - 2
    beside = note and room - display_width(note) - 2 >= _MIN_BAR
    room = min(_MAX_BAR, max(_MIN_BAR, room - display_width(note) - 2 if beside else room))
    bar = tqdm.format_meter(share, 1, 0, ncols=room + 2, ascii=not blocks, bar_format="|{bar}|")
    line = f"{head}{bar}{tail}"
    return [f"{line}  {note}"] if beside else [line, note]


def _has_blocks() -> bool:
    return (getattr(sys.stderr, "encoding", None) or "").lower().startswith("utf")


def progress_for(meter: Meter, console: TerminalConsole, screen: Screen) -> Progress:
    """The way that fits where stderr goes and how much the user wants to hear."""
    if console.quiet:
        return Silence()
    bars = on_terminal() and console.log_format != LogFormat.JSON
    return Bars(meter, screen) if bars else Lines(meter)


@contextmanager
def shown(progress: Progress) -> Iterator[None]:
    """Show the progress at its pace while the context lasts; needs a running event loop."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def tick() -> None:
        nonlocal timer
        timer = loop.call_later(progress.every_s, tick)
        progress.show()

    timer = loop.call_later(progress.every_s, tick)
    try:
        yield
    finally:
        timer.cancel()
        progress.close()
