"""Files that are seen whole or not at all: readers never meet half of one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, parts: Iterable[str]) -> None:
    """Put these parts of a text at `path` in one step, over what is there.

    Raises OSError, and what making a part raises; the old file stays as it was then.
    """
    # Beside its place, for a rename does not cross file systems; hidden, for collectors take every *.prom.
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(parts)
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
