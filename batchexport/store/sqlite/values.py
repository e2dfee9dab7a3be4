"""How single values stand in the state file: image options as compact JSON, times as a calendar has them."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from batchexport.errors import StateCorruptError
from batchexport.model import NO_OPTIONS, ImageOptions

_OPTION_NAMES = ImageOptions.__struct_fields__


# A list holds few different sets of options, and a million rows: each set is worked on once.
@lru_cache(maxsize=1024)
def options_to_text(options: ImageOptions) -> str | None:
    """Only what was said, or None."""
    said = {name: value for name in _OPTION_NAMES if (value := getattr(options, name)) is not None}
    return msgspec.json.encode(said).decode() if said else None


@lru_cache(maxsize=1024)
def options_from_text(text: str | None) -> ImageOptions:
    """The options again. Raises StateCorruptError for what `to_text` never wrote."""
    if text is None:
        return NO_OPTIONS
    try:
        return msgspec.json.decode(text, type=ImageOptions)
    except msgspec.DecodeError as error:
        raise StateCorruptError(
            f"image options {text!r} in the state file cannot be read: {error}"
        ) from error


#: The end of the year 9999, in seconds since the epoch.
_LAST_S = 253_402_300_799.0


def moment(at: float | None) -> float | None:
    """The time as it is. Raises ValueError for one that nobody ever noted: the file is damaged."""
    if at is None or 0.0 <= at <= _LAST_S:
        return at
    raise ValueError(f"{at} is no time")
