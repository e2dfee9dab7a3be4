"""What is told of a run that ended: a title, a few lines, the figures. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from batchexport.redaction import redacted
from batchexport.report.servers import MOST_NAMED, servers_line
from batchexport.report.totals import totals_json
from batchexport.report.verdict import totals_sentence
from batchexport.report.words import count_of, duration, number, one_line
from batchexport.store import Downtime
from batchexport.tell.outcome import Outcome

#: A window that closed with work left is a night as it should be: the next one goes on.
GOOD_CODES = frozenset({0, 75})
_WORDS = {
    0: "done",
    2: "not started",
    3: "done, with failures",
    4: "not started, another process works on it",
    75: "stopped at the end of its window, to be carried on",
    129: "stopped by SIGHUP, to be carried on",
    130: "stopped by SIGINT, to be carried on",
    131: "stopped by SIGQUIT, to be carried on",
    143: "stopped by SIGTERM, to be carried on",
}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What everybody is told."""

    title: str
    lines: Sequence[str]
    good: bool
    figures: dict[str, object] = msgspec.field(default_factory=dict)
    attachment: Path | None = None  #: a report to send along, where the way can carry one

    @property
    def text(self) -> str:
        """Title and lines, as chats show them."""
        return "\n".join([self.title, *self.lines])


def message_on(outcome: Outcome) -> Message:
    """The message about a run that ended."""
    how = _WORDS.get(outcome.exit_code) or ("stopped early" if outcome.totals else "not started")
    if outcome.error is not None:  # that of a foreign library has not been through our error tree
        outcome = replace(outcome, error=redacted(outcome.error))
    lines = [f"error: {one_line(outcome.error, 500)}"] if outcome.error else []
    if line := servers_line(outcome.servers):
        lines.append(line)
    if outcome.totals is not None:
        lines.append(totals_sentence(outcome.totals, outcome.took_s))
    lines += [f"{count_of(each.jobs, 'row')}: {one_line(each.reason, 200)}" for each in outcome.reasons]
    if outcome.downtimes:
        lines.append(_downtime_line(outcome.downtimes))
    lines += [f"{name}: {one_line(words, 200)}" for name, words in outcome.facts]
    if outcome.state_file:
        lines.append(f"state file: {outcome.state_file}")
    lines += [f"report: {path}" for path in outcome.reports]
    return Message(
        title=f"batchexport {outcome.name}: {how} (exit code {outcome.exit_code})",
        lines=lines,
        good=outcome.exit_code in GOOD_CODES,
        figures=_figures(outcome),
        attachment=next((path for path in outcome.reports if path.suffix == ".html"), None),
    )


def _downtime_line(downtimes: Sequence[Downtime]) -> str:
    """Which servers were stopped, and for how long."""
    named = [
        f"{one_line(each.name or each.server_id, 60)} {duration(each.up_at - each.stopping_at)}"
        for each in downtimes
        if each.up_at is not None and each.stopping_at is not None
    ]
    left = len(named) - MOST_NAMED
    more = f" and {number(left)} more" if left > 0 else ""
    return f"servers stopped and up again: {', '.join(named[:MOST_NAMED]) or 'none yet'}{more}"


def _figures(outcome: Outcome) -> dict[str, object]:
    totals = {} if outcome.totals is None else totals_json(outcome.totals)
    return {
        "name": outcome.name,
        "run_id": outcome.run_id,
        "exit_code": outcome.exit_code,
        "error": outcome.error,
        "state_file": outcome.state_file,
        "took_s": outcome.took_s,
        **totals,
    }
