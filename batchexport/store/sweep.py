"""Removal of what a killed process left beside a state file."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from glob import escape
from pathlib import Path


def sweep(path: Path) -> None:
    """Remove files that builders of this state file were killed over. Call it before the file is opened.

    One of them can be the state file itself under its first name; closing it would take the locks of this
    process from the file.
    """
    for left in path.parent.glob(f".{escape(path.name)}.*.new"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
