"""Database files, such as state files, that no text may be written over."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

_SQLITE_HEADER = b"SQLite format 3\0"


def check_no_database(path: Path) -> None:
    """Raise OSError where `path` is an SQLite database, or links lead to one."""
    header = b""
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                header = file.read(len(_SQLITE_HEADER))
    if header == _SQLITE_HEADER:
        raise OSError(errno.EEXIST, "it is a state file, and is not written over", str(path))
