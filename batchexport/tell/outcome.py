"""What is known of a run once it ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from batchexport.errors import StateError
from batchexport.report.causes import top_reasons
from batchexport.report.context import context_of
from batchexport.report.totals import Totals
from batchexport.store import Downtime, ReasonCount, ServerReport, StateReader

MOST_REASONS = 3
#: What of the context is told: the rest stands elsewhere in a message.
_TOLD = frozenset({"cloud", "clouds", "host"})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A run that ended, or a command that could not begin one: then only the first three are known."""

    name: str  #: of the list or job
    exit_code: int
    error: str | None  #: what ended it, where something did
    state_file: str | None = None
    run_id: str | None = None
    totals: Totals | None = None
    took_s: float | None = None  #: of this process
    servers: Sequence[ServerReport] = ()  #: stopped for exports, and not up
    reasons: Sequence[ReasonCount] = ()
    reports: Sequence[Path] = ()
    facts: Sequence[tuple[str, str]] = ()  #: cloud, host and so on, each with its name
    downtimes: Sequence[Downtime] = ()  #: every time that a server was stopped


def with_state(outcome: Outcome, state_path: Path) -> Outcome:
    """The outcome with what the state file knows; where it cannot be read, that is said as the error."""
    named = replace(outcome, state_file=str(state_path))
    try:
        with StateReader(state_path) as reader:
            return replace(
                named,
                run_id=reader.run.run_id,
                totals=Totals.of(reader.tallies()),
                servers=reader.servers(),
                reasons=top_reasons(reader, MOST_REASONS),
                facts=[fact for fact in context_of(reader).facts if fact[0] in _TOLD],
                downtimes=reader.downtimes(),
            )
    except StateError as error:
        return replace(named, error=outcome.error or str(error))
