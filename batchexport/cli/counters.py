"""How far a run is, in numbers and in words. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from batchexport.model import FINAL_STATES, JobState
from batchexport.report.eta import Eta, gib_left, limited_text, slowest_text, time_left_parts
from batchexport.report.text import count_of, number
from batchexport.report.totals import Totals
from batchexport.store import UnderWay

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
    under_way: Sequence[UnderWay] = ()
    stalled: int = 0
    servers_down: int = 0
    rates: Sequence[float] = ()  #: requests/s of the clouds that asked for fewer

    @property
    def total(self) -> int:
        """All rows of the list."""
        return self.totals.all_rows

    @property
    def done(self) -> int:
        """Rows of which nothing more will come by itself."""
        return sum(self.totals.rows[state] for state in FINAL_STATES)

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
    return ", ".join(notes)


def outlook_parts(counters: Counters) -> list[str]:
    """When it may be through, and what holds it up."""
    if not counters.totals.to_do:
        return []
    return [*time_left_parts(counters.eta), *(limited_text(rate) for rate in counters.rates)]


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
