"""The message about a run that ended: its outcome as a title, a few lines and figures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from batchexport.errors import StateError
from batchexport.redaction import redacted
from batchexport.report.actions import action_lines, actions_of
from batchexport.report.causes import top_reasons, volumes_of_reasons
from batchexport.report.context import context_of
from batchexport.report.resources import copies_line
from batchexport.report.servers import MAX_NAMED, servers_line
from batchexport.report.text import count_of, duration, number, one_line
from batchexport.report.totals import Totals, totals_json, totals_sentence
from batchexport.store import Downtime, ReasonCount, ResourceReport, StoreRef, stores

#: Reasons of failed rows that are given.
MAX_REASONS = 3
#: Commands that are given; the report has them all.
MAX_ACTIONS = 6
#: The facts of the context that are given; the others are in the message anyway.
_TOLD = frozenset({"cloud", "clouds", "host"})
#: 75, a window that closed with work left, is normal: the next night resumes the run.
GOOD_CODES = frozenset({0, 75})
_WORDS = {
    0: "done",
    2: "not started",
    3: "done, with failures",
    4: "not started, another process is working on it",
    75: "window closed, to be resumed",
    129: "stopped by SIGHUP, to be resumed",
    130: "stopped by SIGINT, to be resumed",
    131: "stopped by SIGQUIT, to be resumed",
    143: "stopped by SIGTERM, to be resumed",
}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The message that every receiver gets."""

    title: str
    lines: Sequence[str]
    good: bool
    figures: dict[str, object] = msgspec.field(default_factory=dict)
    attachment: Path | None = None  #: a report to attach, where the channel allows it

    @property
    def text(self) -> str:
        """Title and lines, as chats show them."""
        return "\n".join([self.title, *self.lines])


def message_for(outcome: Outcome) -> Message:
    """The message about a run that ended."""
    how = _WORDS.get(outcome.exit_code) or ("stopped early" if outcome.totals else "not started")
    if outcome.error is not None:  # errors of other libraries may hold secrets
        outcome = replace(outcome, error=redacted(outcome.error))
    lines = [f"error: {one_line(outcome.error, 500)}"] if outcome.error else []
    lines += filter(None, (servers_line(outcome.servers), copies_line(outcome.copies)))
    if outcome.totals is not None:
        lines.append(totals_sentence(outcome.totals, outcome.took_s))
    lines += [_reason_line(each, outcome.volumes.get(each.reason, ())) for each in outcome.reasons]
    if outcome.downtimes:
        lines.append(_downtime_line(outcome.downtimes))
    lines += [f"{name}: {one_line(words, 200)}" for name, words in outcome.facts]
    lines += [f"to do: {line}" for line in outcome.to_do]
    if outcome.state_file:
        lines.append(f"state file: {outcome.state_file}")
    lines += [f"report: {path}" for path in outcome.reports]
    return Message(
        title=f"batchexport {outcome.name}: {_unreleased(outcome)}{how} (exit code {outcome.exit_code})",
        lines=lines,
        good=outcome.exit_code in GOOD_CODES,
        figures=_figures(outcome),
        attachment=next((path for path in outcome.reports if path.suffix == ".html"), None),
    )


def _unreleased(outcome: Outcome) -> str:
    """What comes before all else while servers are down or copies are left."""
    down, copies = len(outcome.servers), len(outcome.copies)
    stopped = f"{count_of(down, 'server')} still stopped; " if down else ""
    return stopped + (f"{number(copies)} temporary copies not deleted; " if copies else "")


def _reason_line(reason: ReasonCount, volumes: Sequence[str]) -> str:
    """How many rows failed for a reason, and the first of their volumes."""
    left = reason.jobs - len(volumes)
    more = f" and {number(left)} more" if left > 0 else ""
    named = f" ({', '.join(one_line(each, 60) for each in volumes)}{more})" if volumes else ""
    return f"{count_of(reason.jobs, 'row')}: {one_line(reason.reason, 200)}{named}"


def _downtime_line(downtimes: Sequence[Downtime]) -> str:
    """Which servers were stopped, and for how long."""
    named = [
        f"{one_line(each.name or each.server_id, 60)} {duration(each.up_at - each.stopping_at)}"
        for each in downtimes
        if each.up_at is not None and each.stopping_at is not None
    ]
    left = len(named) - MAX_NAMED
    more = f" and {number(left)} more" if left > 0 else ""
    return f"servers stopped and up again: {', '.join(named[:MAX_NAMED]) or 'none yet'}{more}"


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


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A run that ended. If a command could not start one, only the first three fields are set."""

    name: str  #: of the list or job
    exit_code: int
    error: str | None  #: what ended it; None = it ended by itself
    state_file: str | None = None
    run_id: str | None = None
    totals: Totals | None = None
    took_s: float | None = None  #: seconds of this process
    servers: Sequence[ResourceReport] = ()  #: stopped for exports and not restarted yet
    copies: Sequence[ResourceReport] = ()  #: snapshots and temporary volumes that are not deleted
    reasons: Sequence[ReasonCount] = ()
    volumes: Mapping[str, Sequence[str]] = msgspec.field(
        default_factory=dict
    )  #: some of each reason, by name
    to_do: Sequence[str] = ()  #: commands with their reasons, most urgent first
    reports: Sequence[Path] = ()
    facts: Sequence[tuple[str, str]] = ()  #: (name, value): cloud, host and so on
    downtimes: Sequence[Downtime] = ()  #: every downtime of a server, current ones included


def with_state(outcome: Outcome, state_path: StoreRef) -> Outcome:
    """The outcome completed from the state file; if that cannot be read, its error is set instead."""
    named = replace(outcome, state_file=str(state_path))
    try:
        with stores.read(state_path) as reader:
            context, reasons = context_of(reader), top_reasons(reader, MAX_REASONS)
            overview = reader.overview()
            # After a closed window the next night resumes by itself.
            waits = outcome.exit_code == 75 and not overview.resources
            actions = actions_of(reader, cloud=context.cloud_name, running=waits, now=time.time())
            return replace(
                named,
                volumes=volumes_of_reasons(reader, reasons),
                to_do=action_lines(actions)[:MAX_ACTIONS],
                run_id=reader.run.run_id,
                totals=Totals.of(overview.tallies),
                servers=overview.servers,
                copies=overview.copies,
                reasons=reasons,
                facts=[fact for fact in context.facts if fact[0] in _TOLD],
                downtimes=reader.downtimes(),
            )
    except StateError as error:
        return replace(named, error=outcome.error or str(error))
