"""What must hold of every list, whatever killed the processes that worked on it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batchexport.report.rows import json_lines
from batchexport.sandbox.world import Export
from batchexport.store import StateReader
from tests.crash.cloud import FlakyCloud, LiveImage
from tests.crash.copies import Copies, servers_stopped


def damage(state_path: Path) -> str | None:
    """What SQLite finds wrong with a state file that a process left, or None. The file is not touched."""
    if not state_path.exists():
        return None
    with TemporaryDirectory() as folder:
        # A copy with its log: to open the file itself would repair it before the product does.
        for path in state_path.parent.glob(f"{state_path.name}*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, folder)
        with closing(sqlite3.connect(Path(folder, state_path.name))) as db:
            found = [text for (text,) in db.execute("PRAGMA integrity_check")]
    return None if found == ["ok"] else "; ".join(found)


def violations(
    state_path: Path, volume_ids: Sequence[str], cloud: FlakyCloud, *, in_use_is_copied: bool = False
) -> list[str]:
    """Everything that is wrong with a list that was worked through; nothing where all is right.

    `in_use_is_copied`: no server was to be touched.
    """
    report = report_of(state_path)
    images: dict[str, list[LiveImage]] = defaultdict(list)
    for image in cloud.images():
        images[image.name].append(image)
    exports = _by_volume(cloud)
    found = [*_sums(report, len(volume_ids)), *_rows(report, volume_ids), *_leftovers(state_path)]
    found += Copies.of(cloud.events()).violations(named=())
    found += servers_stopped(cloud.events()) if in_use_is_copied else ()
    for row in report["jobs"]:
        found += _of_row(row, images[row["image_name"]], exports[row["volume_id"]])
    return found


def duplicates_in(cloud: FlakyCloud) -> int:
    """How many exports of any volume were accepted although the one before had not failed."""
    return sum(_duplicates(exports) for exports in _by_volume(cloud).values())


def lost_rows(state_path: Path, volume_ids: Sequence[str]) -> int:
    """How many volumes of the list are not in the report."""
    return len(set(volume_ids) - {row["volume_id"] for row in report_of(state_path)["jobs"]})


def _by_volume(cloud: FlakyCloud) -> dict[str, list[Export]]:
    """The exports of each volume, those of its copies among them."""
    copies = Copies.of(cloud.events())
    exports: dict[str, list[Export]] = defaultdict(list)
    for export in cloud.exports():
        exports[copies.source_of(export.volume_id)].append(export)
    return exports


def _duplicates(exports: Sequence[Export]) -> int:
    return sum(not _failed_before(earlier, later) for earlier, later in pairwise(exports))


def report_of(state_path: Path) -> Any:
    """The report of a list, as JSON."""
    with StateReader(state_path) as reader:
        return json.loads("\n".join(json_lines(reader, reader.jobs(), now=time.time())))


def _sums(report: Any, rows: int) -> Iterator[str]:
    totals = report["totals"]
    states = ("pending", "submitting", "exporting", "succeeded", "failed", "skipped", "ambiguous")
    if totals["rows"] != rows or sum(totals[state] for state in states) != rows:
        yield f"the totals do not add up to {rows} rows: {totals}"
    if totals["to_do"]:
        yield f"{totals['to_do']} rows are in no final state"
    for state in states:
        if (listed := sum(row["state"] == state for row in report["jobs"])) != totals[state]:
            yield f"{listed} rows are {state}, the totals say {totals[state]}"


def _rows(report: Any, volume_ids: Sequence[str]) -> Iterator[str]:
    if [row["volume_id"] for row in report["jobs"]] != list(volume_ids):
        yield "the rows are not those of the list"


def _leftovers(state_path: Path) -> Iterator[str]:
    for path in state_path.parent.iterdir():
        if state_path.name in path.name and path != state_path:
            yield f"{path.name} was left behind"


def _of_row(row: Any, images: Sequence[LiveImage], exports: Sequence[Export]) -> Iterator[str]:
    volume = f"volume {row['volume_id']}"
    if row["state"] != "succeeded":
        yield f"{volume} is {row['state']}: {row['reason']}"
    if [image.status for image in images] != ["active"]:
        yield f"{volume} has the images {list(images)}"
    elif images[0].image_id != row["image_id"]:
        yield f"{volume} has image {images[0].image_id}, the report says {row['image_id']}"
    if _duplicates(exports):
        yield f"{volume} was exported again: {[export.image_id for export in exports]}"


def _failed_before(earlier: Export, later: Export) -> bool:
    return earlier.fails and earlier.free_at <= later.accepted_at
