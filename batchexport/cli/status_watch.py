"""`status --watch`: the same screen again and again, until nothing is left to do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from batchexport.report.eta import MAX_ENDINGS, estimate, eta_lines, running_exports
from batchexport.report.status import status_text
from batchexport.report.totals import Totals
from batchexport.store import Processes, Reader, RunRecord, StoreRef, stores

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
    """Show the run until nothing is left to do and every server is up.

    On a terminal in one place, elsewhere one after the other. Ctrl-C is the usual way out, and no error.
    """
    screen = screen or sys.stdout
    with stores.read(state_path) as reader:
        try:
            while True:
                screen.write(_painted(watch_text(reader, state_path, now=now()), on_terminal=screen.isatty()))
                screen.flush()
                overview = reader.overview()
                if not Totals.of(overview.tallies).to_do and not overview.resources:
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
        reader.latest_attempts(MAX_ENDINGS),
        began_at=_began_at(reader.run, processes),
        now=now,
        under_way=under_way,
    )
    rates = [
        (target.key, target.requests_per_second) for target in overview.targets if target.requests_per_second
    ]
    lines = eta_lines(eta, rates, under_way=under_way, now=now) if totals.to_do and processes.running else []
    return status_text(reader, state_path, now=now, pace=lines)


def _began_at(run: RunRecord, processes: Processes) -> float:
    """When the current work began, else when the run was made."""
    begun = [period.began_at for period in processes.periods if period.ended_at is None]
    return min(begun, default=run.created_at)


def _painted(text: str, *, on_terminal: bool) -> str:
    if not on_terminal:
        return f"{text}\n\n"
    lines = [f"{line}{_END_OF_LINE}\n" for line in text.splitlines()]
    return f"{_HOME}{''.join(lines)}{_END_OF_SCREEN}"
