"""Progress on stderr: bars on a terminal, a line a minute elsewhere, nothing when asked to be quiet."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec
from tqdm import tqdm

from batchexport.app.control import Answer, standing_text
from batchexport.cli.console import LogFormat, TerminalConsole, err, on_terminal
from batchexport.cli.screen import Screen, terminal_columns
from batchexport.errors import StateError
from batchexport.model import JobState, TargetKey
from batchexport.report.eta import (
    MAX_ENDINGS,
    Eta,
    RunningExport,
    estimate,
    gib_left,
    limited_text,
    running_exports,
    slowest_text,
    time_left_parts,
)
from batchexport.report.text import count_of, display_width, number, truncate
from batchexport.report.totals import Totals
from batchexport.store import Reader

log = logging.getLogger(__name__)

#: Often enough to look alive, seldom enough to cost nothing.
PAINT_EVERY_S = 0.5
LINE_EVERY_S = 60.0
#: How often the pace is reckoned anew, which reads some thousand rows.
_PACE_EVERY_S = 5.0
_MIN_BAR, _MAX_BAR = 8, 40


#: Of these no image comes.
_LEFT_OUT = (JobState.FAILED, JobState.SKIPPED, JobState.AMBIGUOUS)
#: An export of this age is worth its name.
_NAMED_FROM_S = 60.0
NO_ETA = Eta(rows_per_minute=None, gib_per_hour=None, left_s=None)


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """A run at a moment, as its state file has it."""

    totals: Totals
    at: float = 0.0
    eta: Eta = NO_ETA  #: of this process
    under_way: Sequence[RunningExport] = ()
    stalled: int = 0
    servers_down: int = 0
    copies: int = 0  #: snapshots and temporary volumes that are there now
    rates: Sequence[float] = ()  #: requests/s of the clouds that asked for fewer
    standing: str = ""  #: whether the run is paused or draining

    @property
    def total(self) -> int:
        """Rows of which an image is there, or may still come."""
        return self.totals.all_rows - sum(self.totals.rows[state] for state in _LEFT_OUT)

    @property
    def done(self) -> int:
        """Rows of which an image is there."""
        return self.totals.rows[JobState.SUCCEEDED]

    @property
    def gib_done(self) -> int:
        """GiB of the images that are there."""
        return self.totals.gib[JobState.SUCCEEDED]

    @property
    def gib_words(self) -> str:
        """GiB done of those to come; a total that is not known yet is told as such."""
        about = "about " if self.totals.unsized_to_do else ""
        return f"{number(self.gib_done)} of {about}{number(self.gib_total)}"

    @property
    def gib_total(self) -> int:
        """GiB of all images to come; exact once every volume was seen, 0 while no size is known."""
        left = gib_left(self.totals)
        return 0 if left is None else self.gib_done + round(left)


def side_note(counters: Counters) -> str:
    """What a bar shows beside itself: what is under way and what went wrong."""
    rows = counters.totals.rows
    states = (JobState.EXPORTING, *_LEFT_OUT)
    notes = [f"{number(rows[state])} {state}" for state in states if rows[state]]
    notes += [f"{number(counters.stalled)} stalled"] if counters.stalled else []
    notes += [f"{count_of(counters.servers_down, 'server')} down"] if counters.servers_down else []
    notes += [f"{number(counters.copies)} snapshots and temporary volumes"] if counters.copies else []
    return ", ".join(notes)


def outlook_parts(counters: Counters) -> list[str]:
    """When it may be through, and what holds it up."""
    if not counters.totals.to_do:
        return []
    standing = [counters.standing] if counters.standing else []
    limited = [limited_text(rate) for rate in counters.rates]
    return [*standing, *time_left_parts(counters.eta), *limited]


def slowest_line(counters: Counters) -> str:
    """The exports that take longest; empty while all are young."""
    old = [each for each in counters.under_way if counters.at - each.accepted_at >= _NAMED_FROM_S]
    named = slowest_text(old, counters.at)
    return f"slowest: {named}" if named else ""


def progress_line(counters: Counters) -> str:
    """One line on where the run is."""
    parts = [f"{number(counters.done)} of {count_of(counters.total, 'row')} done"]
    if note := side_note(counters):
        parts[0] += f" ({note})"
    if counters.gib_total:
        parts.append(f"{counters.gib_words} GiB")
    if counters.eta.rows_per_minute is not None:
        parts.append(f"{counters.eta.rows_per_minute:,.1f} rows/min")
    line = ", ".join([*parts, *outlook_parts(counters)])
    slowest = slowest_line(counters)
    return f"{line}; {slowest}" if slowest else line


class RatedCloud(Protocol):
    """A cloud that knows how many requests it takes."""

    @property
    def requests_per_second(self) -> float: ...


class Meter:
    """Reads from its state file how far a run is, and reckons the pace of this process."""

    def __init__(
        self,
        reader: Reader,
        clouds: Mapping[TargetKey, RatedCloud] | None = None,
        *,
        standing: Callable[[], Answer] = Answer,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`standing` tells how the run stands: whether it is paused, and how many requests/s it may send."""
        self._reader, self._clouds, self._standing, self._now = reader, clouds or {}, standing, now
        self._began_at = now()
        self._figures = Counters(totals=Totals.of([]))
        self._momentum, self._under_way = NO_ETA, list[RunningExport]()
        self._reckoned_at = 0.0

    def counters(self, *, last: bool = False) -> Counters:
        """The counters now; with `last`, their pace too. As before where nothing can be read."""
        try:
            self._figures = self._read(last)
        except StateError as error:
            log.debug("could not read the state file for progress: %s", error, extra={"action": "progress"})
        return self._figures

    def _read(self, last: bool) -> Counters:
        now = self._now()
        overview = self._reader.overview(now=now)
        totals = Totals.of(overview.tallies)
        if last or now - self._reckoned_at >= _PACE_EVERY_S or now < self._reckoned_at:
            self._reckoned_at = now
            self._under_way = running_exports(self._reader)
            self._momentum = self._reckoned(totals, now)
        return Counters(
            totals=totals,
            at=now,
            eta=self._momentum,
            under_way=self._under_way,
            stalled=overview.stalled,
            servers_down=len(overview.servers),
            copies=len(overview.copies),
            standing=standing_text(self._standing()),
            rates=list(filter(self._is_low, [cloud.requests_per_second for cloud in self._clouds.values()])),
        )

    def _reckoned(self, totals: Totals, now: float) -> Eta:
        endings = [
            each for each in self._reader.attempts(latest=MAX_ENDINGS) if each.ended_at >= self._began_at
        ]
        return estimate(totals, endings, began_at=self._began_at, now=now, under_way=self._under_way)

    def _is_low(self, rate: float) -> bool:
        max_rate = self._standing().requests_per_second
        return rate > 0 and (max_rate == 0 or rate < max_rate * 0.999)


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
