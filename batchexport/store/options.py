"""Image options as the text that a row keeps: compact JSON, or NULL where nothing was said."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from batchexport.errors import StateCorruptError
from batchexport.model import NO_OPTIONS, ImageOptions

_NAMES = ImageOptions.__struct_fields__


# A list holds few different sets of options, and a million rows: each set is worked on once.
@lru_cache(maxsize=1024)
def to_text(options: ImageOptions) -> str | None:
    """Only what was said, or None."""
    said = {name: value for name in _NAMES if (value := getattr(options, name)) is not None}
    return msgspec.json.encode(said).decode() if said else None


@lru_cache(maxsize=1024)
def from_text(text: str | None) -> ImageOptions:
    """The options again. Raises StateCorruptError for what `to_text` never wrote."""
    if text is None:
        return NO_OPTIONS
    try:
        return msgspec.json.decode(text, type=ImageOptions)
    except msgspec.DecodeError as error:
        raise StateCorruptError(
            f"image options {text!r} in the state file cannot be read: {error}"
        ) from error
