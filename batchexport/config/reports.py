"""Which reports a run leaves behind: the `[report]` table of a job file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from batchexport.config import values

if TYPE_CHECKING:
    from batchexport.config.table import Table

#: The forms that can be asked for, by the names that `report --format` gives them.
FORMATS = ("html", "markdown", "csv", "json", "table")


class Reports(msgspec.Struct, frozen=True, kw_only=True):
    """Reports to be written when a run ends, named after its state file."""

    folder: Path | None = None  #: None = none are written
    formats: tuple[str, ...] = ("html",)


def reports_from(table: Table, *, folder: Path) -> Reports:
    """What the table asks for. `folder` is where its paths begin."""
    name, formats = table.text("folder"), table.read("formats", _formats)
    if name is None:
        if formats is not None:
            table.problem("folder", "missing: where the reports go")
        return Reports()
    return Reports(folder=values.path_in(folder, name), formats=formats or ("html",))


def _formats(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    for one in listed:
        if one not in FORMATS:
            raise ValueError(f"{one!r} is not known; allowed: {', '.join(FORMATS)}")
    if not listed:
        raise ValueError("is empty; leave the key out instead")
    return tuple(dict.fromkeys(listed))
