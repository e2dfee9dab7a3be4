"""Other runs: the figures of earlier runs of a list, to compare with, and all runs of a folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from batchexport.model import JobState
from batchexport.report.listing import Listing
from batchexport.report.text import count_of, display_width, iso_utc, number, padded, printable
from batchexport.report.totals import ENDED, Totals, totals_json
from batchexport.store import Reader, RunRecord, Span, StoreRef, Unreadable, stores

log = logging.getLogger(__name__)

#: Earlier runs found in the folder; more are named with --compare.
MAX_RUNS = 14


class RunFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one run."""

    run: RunRecord
    totals: Totals
    span: Span

    @property
    def took_s(self) -> float | None:
        """Seconds from the first export to the last change; None if nothing was exported."""
        if self.span.began_at is None or self.span.ended_at is None:
            return None
        return max(0.0, self.span.ended_at - self.span.began_at)

    @property
    def gib_per_hour(self) -> float | None:
        """GiB exported per hour; None if nothing was exported."""
        gib = self.totals.gib[JobState.SUCCEEDED]
        return gib * 3600 / self.took_s if gib and self.took_s else None


def figures_of(reader: Reader) -> RunFigures:
    """The figures of one state file."""
    return RunFigures(run=reader.run, totals=Totals.of(reader.overview().tallies), span=reader.span())


def runs_at(paths: Iterable[Path]) -> list[RunFigures]:
    """The figures of these state files, oldest first. Raises StateError if one cannot be read."""
    return _oldest_first([_read(path) for path in paths])


def earlier_runs(state_path: StoreRef, run: RunRecord) -> list[RunFigures]:
    """The latest earlier runs of the same list with state files in the same folder, oldest first."""
    found = []
    for other in stores.beside(state_path):
        report = stores.look_into(other, figures_of)
        if isinstance(report, Unreadable):
            log.info("not compared: %s", report.words, extra={"action": "run_unreadable", "path": str(other)})
            continue
        if report.run.list_name == run.list_name and report.run.created_at < run.created_at:
            found.append(report)
    return _oldest_first(found)[-MAX_RUNS:]


def _read(ref: StoreRef) -> RunFigures:
    with stores.read(ref) as reader:
        return figures_of(reader)


def _oldest_first(runs: Sequence[RunFigures]) -> list[RunFigures]:
    return sorted(runs, key=lambda each: each.run.created_at)


#: Columns of the list of runs.
COLUMNS = (
    "state_file",
    "run_id",
    "begun_at",
    "rows",
    *map(str, ENDED),
    "to_do",
    "gib",
    "result",
)
_HEADS = ("state file", "begun", "rows", *map(str, ENDED), "to do", "GiB", "")


class RunLine(msgspec.Struct, frozen=True, kw_only=True):
    """One state file: its run and its totals, or why it cannot be read."""

    path: Path
    run_id: str = ""
    begun_at: float | None = None
    totals: Totals | None = None
    word: str = ""  #: done, unfinished or running; else what is wrong with the file


def runs_in(folder: Path) -> list[RunLine]:
    """Every state file of the folder, by name, which for nightly runs is by date."""
    return [_line(path) for path in sorted(folder.glob("*.state"))]


def runs_text(lines: Sequence[RunLine]) -> str:
    """The runs as a table, and how many there are."""
    rows = [_HEADS, *map(_cells, lines)]
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(
            cell.rjust(width) if place in range(2, 9) else padded(cell, width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*table, count_of(len(lines), "run")])


def runs_json(lines: Sequence[RunLine]) -> str:
    """The runs as a JSON array."""
    return json.dumps([_record(line) for line in lines], indent=2, ensure_ascii=False)


def runs_listing(lines: Sequence[RunLine]) -> Listing:
    """The runs as records."""
    return Listing(columns=COLUMNS, records=[_flat(line) for line in lines])


def _line(path: Path) -> RunLine:
    found = stores.look_into(path, _readable_line)
    return RunLine(path=path, word=found.words) if isinstance(found, Unreadable) else found


def _readable_line(reader: Reader) -> RunLine:
    totals = Totals.of(reader.overview().tallies)
    working = any(holder.alive for holder in reader.processes().holders)
    return RunLine(
        path=Path(str(reader.path)),
        run_id=reader.run.run_id,
        begun_at=reader.run.created_at,
        totals=totals,
        word="running" if working else "unfinished" if totals.to_do else "done",
    )


def _cells(line: RunLine) -> tuple[str, ...]:
    if line.totals is None:
        return (printable(line.path.name), *[""] * (len(_HEADS) - 2), printable(line.word))
    counts = [line.totals.all_rows, *(line.totals.rows[state] for state in ENDED), line.totals.to_do]
    gib = line.totals.gib[JobState.SUCCEEDED]
    return (line.path.name, iso_utc(line.begun_at), *map(number, [*counts, gib]), line.word)


def _flat(line: RunLine) -> dict[str, object]:
    record: dict[str, object] = {"state_file": str(line.path), "result": line.word}
    if line.totals is not None:
        record |= {"run_id": line.run_id, "begun_at": iso_utc(line.begun_at), **totals_json(line.totals)}
        record |= {"gib": line.totals.gib[JobState.SUCCEEDED]}
    return record


def _record(line: RunLine) -> dict[str, object]:
    if line.totals is None:
        return {"state_file": str(line.path), "error": line.word}
    return {
        "state_file": str(line.path),
        "run_id": line.run_id,
        "begun_at": iso_utc(line.begun_at),
        "is": line.word,
        **totals_json(line.totals),
    }
