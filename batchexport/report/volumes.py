"""Volumes as the rows of a job list, CSV or JSON, with columns for people beside the id."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence

from batchexport.lists import DISCOVERED_COLUMNS
from batchexport.lists.csv_text import guarded
from batchexport.model import Volume, VolumeDetails

COLUMNS = ("volume_id", *DISCOVERED_COLUMNS)

Cell = str | int | None


def cells(volume: Volume) -> dict[str, Cell]:
    """The volume's value for each of COLUMNS; None = no value."""
    details = volume.details or VolumeDetails()
    return {
        "volume_id": volume.volume_id,
        "volume_name": volume.name,
        "size_gib": volume.size_gib,
        "status": volume.status,
        "type": details.volume_type,
        "availability_zone": details.availability_zone,
        "attached_to": " ".join(volume.server_ids) or None,
    }


def csv_text(volumes: Iterable[Volume], *, columns: Sequence[str] = COLUMNS, header: bool = True) -> str:
    """The volumes as CSV with these columns; unknown columns stay empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(columns)
    for volume in volumes:
        row = cells(volume)
        writer.writerow([_harmless(row.get(column)) for column in columns])
    return text.getvalue()


def _harmless(value: Cell) -> Cell:
    return guarded(value) if isinstance(value, str) else value


def json_text(volumes: Iterable[Volume], *, behind: Sequence[object] = ()) -> str:
    """The volumes as a JSON array, after the elements in `behind`."""
    elements = [*behind, *map(cells, volumes)]
    lines = [json.dumps(element, ensure_ascii=False) for element in elements]
    return "[\n" + ",\n".join(f"  {line}" for line in lines) + ("\n]\n" if lines else "]\n")
