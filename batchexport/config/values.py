"""Single values of a job file, read from what TOML gives, and of flags where they are written the same way.

Raise ValueError, with words that fit behind the name of the key.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Sequence
from pathlib import Path

from batchexport.config.settings import MaxFailures
from batchexport.model import InUse

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration_s(text: str) -> float:
    """Seconds from `90`, `90s`, `1.5m`, `2h` or `1d`. Raises ValueError for anything else."""
    if (match := _DURATION.fullmatch(text.strip())) is None:
        raise ValueError(f"{text!r} is not a duration: write seconds (90) or a unit (90s, 5m, 2h, 1d)")
    return float(match[1]) * _SECONDS[match[2]]


def text(value: object) -> str:
    """A text with something in it."""
    if not isinstance(value, str):
        raise ValueError(f"is {kind(value)}; it must be a text in quotes")
    if not value.strip():
        raise ValueError("is empty; leave the key out instead")
    return value


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"is {kind(value)}; it must be true or false")
    return value


def whole(value: object) -> int:
    """A whole number, of either sign."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"is {kind(value)}; it must be a whole number")
    return value


def number(value: object) -> float:
    """A number from 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"is {kind(value)}; it must be a number")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"is {value}; it must be 0 or more")
    return float(value)


def duration(value: object) -> float:
    """Seconds, of a number or a text with a unit."""
    return duration_s(value) if isinstance(value, str) else number(value)


def path_in(folder: Path, name: str) -> Path:
    """A path of a job file as seen from its folder; `~` is the home folder of whoever runs it."""
    try:
        return folder / Path(name).expanduser()
    except RuntimeError:  # there is no home
        return folder / name


def encoding(value: object) -> str:
    """The name of a text encoding."""
    name = text(value)
    try:
        is_of_text = codecs.lookup(name)._is_text_encoding
    except LookupError:
        is_of_text = False
    if not is_of_text:
        raise ValueError(f'"{name}" is no text encoding; known are utf-8, utf-16, gb18030, cp1252 and more')
    return name


def max_failures(value: object) -> MaxFailures:
    """A number of failures, or a share of the rows."""
    return MaxFailures.parse(value if isinstance(value, str) else str(whole(value)))


def in_use(value: object) -> InUse:
    """What becomes of volumes in use."""
    return InUse(one_of(text(value), [each.value for each in InUse]))


def one_of(word: str, allowed: Sequence[str]) -> str:
    """The word, if it is one of those allowed."""
    if word not in allowed:
        raise ValueError(f'"{word}" is not known; allowed: {", ".join(allowed)}')
    return word


def at_least(number: int, least: int) -> int:
    """The number, if it is not below `least`."""
    if number < least:
        raise ValueError(f"is {number}; it must be {least} or more")
    return number


def above(seconds: float, bound: float | None) -> float:
    """The seconds, if they are above `bound`; None = any are."""
    if bound is not None and seconds <= bound:
        raise ValueError(f"is {seconds:g}; it must be more than {bound:g}")
    return seconds


def kind(value: object) -> str:
    """What a TOML value is, in a user's words."""
    kinds = {bool: "true or false", str: "a text", int: "a whole number", float: "a number", list: "an array"}
    return kinds.get(type(value), "a table" if isinstance(value, dict) else "a date or time")
