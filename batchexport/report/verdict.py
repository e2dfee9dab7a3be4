"""How a night went, in a word and in a sentence: the same for the page, for chat and for mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from batchexport.model import JobState
from batchexport.report.servers import servers_line
from batchexport.report.totals import Totals
from batchexport.report.words import count_of, duration, number

if TYPE_CHECKING:
    from batchexport.report.night import Night


class Verdict(msgspec.Struct, frozen=True):
    """A word for it, and the class of its colour."""

    words: str
    class_: str


def verdict(night: Night) -> Verdict:
    """How the night went."""
    rows = night.totals.rows
    if night.servers and not night.running:
        return Verdict("servers are not up", "bad")
    if night.totals.to_do:
        return Verdict("running", "going") if night.running else Verdict("unfinished", "open")
    if rows[JobState.FAILED] or rows[JobState.AMBIGUOUS]:
        return Verdict("done, with failures", "bad")
    return Verdict("done", "ok")


def headline(night: Night) -> str:
    """The night in a sentence or two."""
    text = totals_sentence(night.totals, night.figures.took_s)
    if line := servers_line(night.servers):
        text = f"{line}. {text}"
    if night.stalled:
        text += f" {count_of(night.stalled, 'export')} past the deadline, still watched."
    return text


def totals_sentence(totals: Totals, took_s: float | None) -> str:
    """What came of the rows, what is left, and how long it took."""
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
