"""Earlier nights: the same few figures of other state files, to see this one beside them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from batchexport.errors import StateError
from batchexport.model import JobState
from batchexport.report.totals import Totals
from batchexport.store import RunRecord, Span, StateReader

log = logging.getLogger(__name__)

#: Nights taken from the folder by themselves; more are named with --compare.
MOST_NIGHTS = 14


class NightFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One run in a line."""

    run: RunRecord
    totals: Totals
    span: Span

    @property
    def took_s(self) -> float | None:
        """From the first export to the last change; None where nothing was exported."""
        if self.span.began_at is None or self.span.ended_at is None:
            return None
        return max(0.0, self.span.ended_at - self.span.began_at)

    @property
    def gib_per_hour(self) -> float | None:
        """What was exported over the time it took; None where there is nothing to tell it from."""
        gib = self.totals.gib[JobState.SUCCEEDED]
        return gib * 3600 / self.took_s if gib and self.took_s else None


def figures_of(reader: StateReader) -> NightFigures:
    """The figures of one state file."""
    return NightFigures(run=reader.run, totals=Totals.of(reader.tallies()), span=reader.span())


def named_nights(paths: Iterable[Path]) -> list[NightFigures]:
    """The figures of these state files, oldest first. Raises StateError for one that cannot be read."""
    return _oldest_first([_read(path) for path in paths])


def nights_beside(state_path: Path, run: RunRecord) -> list[NightFigures]:
    """The last earlier runs of the same list whose state files are in the same folder, oldest first."""
    found = []
    for path in sorted(state_path.absolute().parent.glob(f"*{state_path.suffix}")):
        if path.samefile(state_path):
            continue
        try:
            night = _read(path)
        except StateError as error:
            log.info("not compared: %s", error)
            continue
        if night.run.list_name == run.list_name and night.run.created_at < run.created_at:
            found.append(night)
    return _oldest_first(found)[-MOST_NIGHTS:]


def _read(path: Path) -> NightFigures:
    with StateReader(path) as reader:
        return figures_of(reader)


def _oldest_first(nights: Sequence[NightFigures]) -> list[NightFigures]:
    return sorted(nights, key=lambda night: night.run.created_at)
