"""`status --watch`: the same screen again and again, until nothing is left to do."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from batchexport.report.eta import MAX_ENDINGS, estimate, eta_lines, running_exports
from batchexport.report.status import status_text
from batchexport.report.text import truncate
from batchexport.report.totals import Totals
from batchexport.store import Processes, Reader, RunRecord, StoreRef, count_deliveries, stores

#: The cursor home; the rest of a line gone; the rest of the screen gone. Nothing is blanked: no flicker.
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


def watch(
    state_path: StoreRef,
    *,
    every_s: float,
    screen: TextIO | None = None,
    sleep: Callable[[float], object] = time.sleep,
    now: Callable[[], float] = time.time,
) -> None:
    """Show the run until nothing is left to do or to deliver and every server is up.

    On a terminal in one place, elsewhere one after the other. Ctrl-C is the usual way out, and no error.
    """
    screen = screen or sys.stdout
    with stores.read(state_path) as reader:
        try:
            while True:
                text = watch_text(reader, state_path, now=now())
                screen.write(_painted(text, _size(screen)) if screen.isatty() else f"{text}\n\n")
                screen.flush()
                overview = reader.overview()
                delivered = count_deliveries(reader)
                is_delivering = delivered is not None and delivered.open
                if not Totals.of(overview.tallies).to_do and not overview.resources and not is_delivering:
                    return
                sleep(every_s)
        except KeyboardInterrupt:
            screen.write("\n")


def watch_text(reader: Reader, state_path: StoreRef, *, now: float) -> str:
    """Where the run stands, how fast it goes, and when it may be through."""
    overview, processes, under_way = reader.overview(now=now), reader.processes(), running_exports(reader)
    totals = Totals.of(overview.tallies)
    eta = estimate(
        totals,
        list(reader.attempts(latest=MAX_ENDINGS)),
        began_at=_began_at(reader.run, processes),
        now=now,
        under_way=under_way,
    )
    rates = [
        (target.key, target.requests_per_second) for target in overview.targets if target.requests_per_second
    ]
    lines = eta_lines(eta, rates, under_way=under_way, now=now) if totals.to_do and processes.running else []
    if processes.running:
        lines = [*standing_lines(state_path), *lines]
    return status_text(reader, state_path, now=now, pace=lines)


def standing_lines(state_path: StoreRef) -> list[str]:
    """Whether the run that works on the file is paused or draining, as it says itself."""
    from batchexport.app.control import standing_of  # loads the engine: only a running run is asked

    standing = standing_of(state_path)
    return [standing] if standing else []


def _began_at(run: RunRecord, processes: Processes) -> float:
    """When the current work began, else when the run was made."""
    begun = [period.began_at for period in processes.periods if period.ended_at is None]
    return min(begun, default=run.created_at)


def _size(screen: TextIO) -> os.terminal_size:
    """The size of the terminal now: it may change between two looks."""
    try:
        columns, rows = os.get_terminal_size(screen.fileno())
    except (OSError, ValueError):
        columns, rows = 0, 0
    return os.terminal_size((columns or 80, rows or 24))


def _painted(text: str, size: os.terminal_size) -> str:
    """The text as a screen of this size: neither a line that wraps nor one too many, which would scroll."""
    lines = [truncate(line, max(1, size.columns - 1)) for line in text.splitlines()]
    room = max(1, size.lines - 1)
    if len(lines) > room:
        more = truncate(f"… {len(lines) - room + 1} more lines", max(1, size.columns - 1))
        lines = [*lines[: room - 1], more]
    return f"{_HOME}{''.join(f'{line}{_END_OF_LINE}{chr(10)}' for line in lines)}{_END_OF_SCREEN}"
