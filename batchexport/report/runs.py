"""The runs in a folder, one line each: what came of every night."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from batchexport.errors import StateError
from batchexport.model import JobState
from batchexport.report.totals import ENDED, Totals, totals_json
from batchexport.report.words import count_of, iso_utc, number, shown
from batchexport.store import StateReader

_HEADS = ("state file", "begun", "rows", *map(str, ENDED), "to do", "GiB", "")


class RunLine(msgspec.Struct, frozen=True, kw_only=True):
    """One state file: its run and its totals, or why it cannot be read."""

    path: Path
    run_id: str = ""
    begun_at: float | None = None
    totals: Totals | None = None
    word: str = ""  #: done, unfinished, at work; else what is wrong with the file


def runs_in(folder: Path) -> list[RunLine]:
    """Every state file of the folder, by name, which for nights is by date."""
    return [_line(path) for path in sorted(folder.glob("*.state"))]


def runs_text(lines: Sequence[RunLine]) -> str:
    """The runs as a table, and how many there are."""
    rows = [_HEADS, *map(_cells, lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(
            cell.rjust(width) if place in range(2, 9) else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*table, count_of(len(lines), "run")])


def runs_json(lines: Sequence[RunLine]) -> str:
    """The runs as a JSON array."""
    return json.dumps([_record(line) for line in lines], indent=2, ensure_ascii=False)


def _line(path: Path) -> RunLine:
    try:
        with StateReader(path) as reader:
            totals = Totals.of(reader.tallies())
            working = any(holder.alive for holder in reader.owners())
            word = "at work" if working else "unfinished" if totals.to_do else "done"
            return RunLine(
                path=path,
                run_id=reader.run.run_id,
                begun_at=reader.run.created_at,
                totals=totals,
                word=word,
            )
    except StateError as error:
        return RunLine(path=path, word=str(error))


def _cells(line: RunLine) -> tuple[str, ...]:
    if line.totals is None:
        return (shown(line.path.name), *[""] * (len(_HEADS) - 2), shown(line.word))
    counts = [line.totals.all_rows, *(line.totals.rows[state] for state in ENDED), line.totals.to_do]
    gib = line.totals.gib[JobState.SUCCEEDED]
    return (line.path.name, iso_utc(line.begun_at), *map(number, [*counts, gib]), line.word)


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
