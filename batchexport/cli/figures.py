"""How far a run is, in numbers and in words. Pure: time is an argument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from batchexport.model import FINAL_STATES, Ending, Job, JobState
from batchexport.report.words import count_of, duration, number

if TYPE_CHECKING:
    from batchexport.store import Tally

#: No image comes of these: their volumes are not among the GiB to copy.
_LEFT_OUT = (JobState.FAILED, JobState.SKIPPED, JobState.AMBIGUOUS)
_COPIED = (JobState.EXPORTING, JobState.SUCCEEDED)


class Figures(msgspec.Struct):
    """Rows by state and GiB, kept up with each change that the engine tells."""

    rows: Counter[JobState] = msgspec.field(default_factory=Counter)
    gib_done: int = 0
    _gib_seen: int = 0  #: of volumes exporting or exported
    _rows_seen: int = 0  #: those of them whose size is known

    @classmethod
    def of(cls, tallies: Iterable[Tally]) -> Figures:
        """The figures of a state file."""
        figures = cls()
        for tally in tallies:
            figures.rows[tally.state] += tally.jobs
            if tally.state in _COPIED:
                figures._gib_seen += tally.gib
                figures._rows_seen += tally.sized_jobs
            if tally.state is JobState.SUCCEEDED:
                figures.gib_done += tally.gib
        return figures

    def change(self, job: Job, before: JobState, after: JobState, ending: Ending | None = None) -> None:
        """Move one row from one state to another."""
        self.rows[before] -= 1
        self.rows[after] += 1
        if job.size_gib is None:
            return
        step = (after in _COPIED) - (before in _COPIED)
        self._rows_seen += step
        self._gib_seen += step * job.size_gib
        if after is JobState.SUCCEEDED:
            self.gib_done += job.size_gib

    @property
    def total(self) -> int:
        """All rows of the list."""
        return self.rows.total()

    @property
    def done(self) -> int:
        """Rows of which nothing more will come by itself."""
        return sum(self.rows[state] for state in FINAL_STATES)

    @property
    def gib_total(self) -> int:
        """GiB of all images to come: by the mean of the volumes seen, so exact once all were seen."""
        if not self._rows_seen:
            return 0
        expected = self.total - sum(self.rows[state] for state in _LEFT_OUT)
        return round(self._gib_seen / self._rows_seen * expected)


def side_note(figures: Figures) -> str:
    """What a bar shows beside itself: what is under way and what went wrong."""
    states = (JobState.EXPORTING, *_LEFT_OUT)
    return ", ".join(f"{figures.rows[state]} {state}" for state in states if figures.rows[state])


def progress_line(figures: Figures, *, done_before: int, elapsed_s: float) -> str:
    """One line on where the run is. `done_before` rows were done when it began, `elapsed_s` seconds ago."""
    parts = [f"{number(figures.done)} of {count_of(figures.total, 'row')} done"]
    if note := side_note(figures):
        parts[0] += f" ({note})"
    if figures.gib_total:
        parts.append(f"{number(figures.gib_done)} of {number(figures.gib_total)} GiB")
    done_now = figures.done - done_before
    if done_now > 0 and elapsed_s > 0:
        left_s = (figures.total - figures.done) * elapsed_s / done_now
        parts.append(f"{done_now * 60 / elapsed_s:,.1f} rows/min")
        parts += [f"about {duration(left_s)} left"] if left_s else []
    return ", ".join(parts)
