"""Rows and GiB by state: the same sums wherever they are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from batchexport.model import FINAL_STATES, JobState
from batchexport.report.text import count_of, duration, number

if TYPE_CHECKING:
    from batchexport.store import Tally

#: In the order in which every total lists them.
ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.SKIPPED, JobState.AMBIGUOUS)
TO_DO = tuple(state for state in JobState if state not in FINAL_STATES)


class Totals(msgspec.Struct, frozen=True):
    """The sums over the rows of a run or of one target."""

    rows: Counter[JobState]
    gib: Counter[JobState]
    sized: int  #: rows of known size
    unsized_to_do: int = 0  #: rows of unknown size that have not ended

    @classmethod
    def of(cls, tallies: Iterable[Tally]) -> Totals:
        """The sums of these tallies."""
        rows, gib, sized, unsized_to_do = Counter[JobState](), Counter[JobState](), 0, 0
        for tally in tallies:
            rows[tally.state] += tally.jobs
            gib[tally.state] += tally.gib
            sized += tally.sized_jobs
            if tally.state not in FINAL_STATES:
                unsized_to_do += tally.jobs - tally.sized_jobs
        return cls(rows, gib, sized, unsized_to_do)

    @property
    def all_rows(self) -> int:
        """Every row of the list."""
        return self.rows.total()

    @property
    def to_do(self) -> int:
        """Rows that have not ended."""
        return sum(self.rows[state] for state in TO_DO)

    @property
    def gib_to_do(self) -> int:
        """GiB of the rows that have not ended, as far as their sizes are known."""
        return sum(self.gib[state] for state in TO_DO)

    @property
    def unsized(self) -> int:
        """Rows of unknown size."""
        return self.all_rows - self.sized


def rows_text(totals: Totals) -> str:
    """The sum of the rows, written out: 12 rows = 9 succeeded + 1 failed + …"""
    parts = [f"{number(totals.rows[state])} {state}" for state in ENDED]
    return " + ".join(
        [f"{count_of(totals.all_rows, 'row')} = {parts[0]}", *parts[1:], f"{number(totals.to_do)} to do"]
    )


def gib_text(totals: Totals) -> str:
    """What was exported and what is left, in GiB."""
    text = f"{number(totals.gib[JobState.SUCCEEDED])} GiB exported, {number(totals.gib_to_do)} GiB to do"
    return text + (f" (size of {count_of(totals.unsized, 'row')} not known)" if totals.unsized else "")


def totals_json(totals: Totals) -> dict[str, object]:
    """The totals for JSON: every state is listed, also those without rows."""
    return {
        "rows": totals.all_rows,
        **{str(state): totals.rows[state] for state in JobState},
        "to_do": totals.to_do,
        "gib": {str(state): totals.gib[state] for state in JobState},
        "rows_of_unknown_size": totals.unsized,
    }


def totals_sentence(totals: Totals, took_s: float | None) -> str:
    """What became of the rows, what is left, and how long it took."""
    rows = totals.rows
    text = f"{number(rows[JobState.SUCCEEDED])} of {count_of(totals.all_rows, 'volume')} exported"
    text += f" ({number(totals.gib[JobState.SUCCEEDED])} GiB)"
    text += f" in {duration(took_s)}" if took_s is not None else ""
    rest = [
        f"{number(rows[state])} {state}"
        for state in (JobState.FAILED, JobState.AMBIGUOUS, JobState.SKIPPED)
        if rows[state]
    ]
    rest += [f"{number(totals.to_do)} to do"] if totals.to_do else []
    return f"{text}; {', '.join(rest)}." if rest else f"{text}."
