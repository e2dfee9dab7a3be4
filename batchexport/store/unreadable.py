"""Looking into state files that may be damaged, newer, or none at all: one that is so ends nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from batchexport.errors import StateError
from batchexport.store.reader import StateReader

T = TypeVar("T")


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A state file that cannot be read. What it knows is not known: never that it knows nothing."""

    path: Path
    words: str  #: what is wrong with it, in full


def look_into(path: Path, look: Callable[[StateReader], T]) -> T | Unreadable:
    """What `look` finds in the state file, or that it cannot be read; `look` reads all it needs.

    A file that is not there is unreadable, too.
    """
    try:
        with StateReader(path) as reader:
            return look(reader)
    except StateError as error:
        return Unreadable(path=path, words=str(error))
