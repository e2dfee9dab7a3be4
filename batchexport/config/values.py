"""Tables of a job file and their values, as TOML gives them. Some functions also parse flags.

The functions raise ValueError; its message continues a sentence that begins with the key.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from batchexport.config.settings import MaxFailures
from batchexport.errors import ConfigError
from batchexport.image_labels import checked_tags
from batchexport.model import ExportOrder, InUse

Value = TypeVar("Value")

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration_s(text: str) -> float:
    """Seconds from `90`, `90s`, `1.5m`, `2h` or `1d`. Raises ValueError for anything else."""
    if (match := _DURATION.fullmatch(text.strip())) is None:
        raise ValueError(f"{text!r} is not a duration: write seconds (90) or a unit (90s, 5m, 2h, 1d)")
    return float(match[1]) * _SECONDS[match[2]]


_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def bytes_per_second(text: str) -> float:
    """Bytes per second from `200M`, `1.5G` or `500000`; K, M and G are powers of 1024, as with curl.

    Raises ValueError for anything else.
    """
    number, unit = text.strip(), ""
    if number[-1:].upper() in ("K", "M", "G"):
        number, unit = number[:-1], number[-1].upper()
    try:
        rate = float(number) * _SIZES[unit]
    except ValueError:
        rate = 0.0
    if not 1 <= rate < float("inf"):
        raise ValueError(f"{text!r} is not a number of bytes per second, such as 200M or 1.5G")
    return rate


def parse_bandwidth(value: object) -> float:
    """Bytes per second, from a number or a text with a unit."""
    return bytes_per_second(value if isinstance(value, str) else str(parse_number(value)))


def parse_text(value: object) -> str:
    """A text that is not blank."""
    if not isinstance(value, str):
        raise ValueError(f"is {kind(value)}; it must be a text in quotes")
    if not value.strip():
        raise ValueError("is empty; leave the key out instead")
    return value


def parse_bool(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"is {kind(value)}; it must be true or false")
    return value


def parse_int(value: object) -> int:
    """A whole number, of either sign."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"is {kind(value)}; it must be a whole number")
    return value


def parse_number(value: object) -> float:
    """A number from 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"is {kind(value)}; it must be a number")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"is {value}; it must be 0 or more")
    return float(value)


def parse_duration(value: object) -> float:
    """Seconds, from a number or a text with a unit."""
    return duration_s(value) if isinstance(value, str) else parse_number(value)


def path_in(folder: Path, name: str) -> Path:
    """A path of a job file, relative to its folder; `~` is the home folder of the current user."""
    try:
        return folder / Path(name).expanduser()
    except RuntimeError:  # there is no home
        return folder / name


def parse_encoding(value: object) -> str:
    """The name of a text encoding."""
    name = parse_text(value)
    try:
        is_of_text = codecs.lookup(name)._is_text_encoding
    except LookupError:
        is_of_text = False
    if not is_of_text:
        raise ValueError(f'"{name}" is not a text encoding; some are utf-8, utf-16, gb18030 and cp1252')
    return name


def parse_max_failures(value: object) -> MaxFailures:
    """A number of failures, or a share of the rows."""
    return MaxFailures.parse(value if isinstance(value, str) else str(parse_int(value)))


def parse_in_use(value: object) -> InUse:
    """What to do about volumes in use."""
    return InUse(one_of(parse_text(value), [each.value for each in InUse]))


def parse_order(value: object) -> ExportOrder:
    """Which rows are exported first."""
    return ExportOrder(one_of(parse_text(value), [each.value for each in ExportOrder]))


def parse_tags(value: object) -> tuple[str, ...]:
    """Tags of images, from an array of texts."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"is {kind(value)}; it must be an array of texts")
    return checked_tags(parse_text(each) for each in value)


def one_of(word: str, allowed: Sequence[str]) -> str:
    """The word, if allowed."""
    if word not in allowed:
        raise ValueError(f'"{word}" is not known; allowed: {", ".join(allowed)}')
    return word


def at_least(number: int, minimum: int) -> int:
    """The number, if it is at least `minimum`."""
    if number < minimum:
        raise ValueError(f"is {number}; it must be {minimum} or more")
    return number


def more_than(seconds: float, bound: float | None) -> float:
    """The seconds, if they are more than `bound`; None = no bound."""
    if bound is not None and seconds <= bound:
        raise ValueError(f"is {seconds:g}; it must be more than {bound:g}")
    return seconds


def kind(value: object) -> str:
    """The type of a TOML value, in a user's words."""
    kinds = {bool: "true or false", str: "a text", int: "a whole number", float: "a number", list: "an array"}
    return kinds.get(type(value), "a table" if isinstance(value, dict) else "a date or time")


class Table:
    """One table of the file, read key by key. A wrong value is added to `problems` and read as missing."""

    def __init__(
        self, name: str, content: object, problems: list[str], allowed: Mapping[str, Sequence[str]]
    ) -> None:
        self._name, self._problems, self._allowed = name, problems, allowed
        self._known: list[str] = []
        self._content: Mapping[str, object] = content if isinstance(content, dict) else {}
        if not isinstance(content, dict):
            problems.append(f"[{name}]: is {kind(content)}; it must be a table")

    def read(self, key: str, reader: Callable[[object], Value]) -> Value | None:
        """The parsed value of the key; None = missing or wrong."""
        self._known.append(key)
        if key not in self._content:
            return None
        try:
            return reader(self._content[key])
        except (ValueError, ConfigError) as error:
            self.problem(key, str(error))
            return None

    def require(self, key: str, reader: Callable[[object], Value]) -> Value | None:
        """As `read`, for a required key."""
        if key not in self._content:
            self.problem(key, "missing")
        return self.read(key, reader)

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._content

    def problem(self, key: str, words: str) -> None:
        """Add a problem with a key."""
        self._problems.append(f"[{self._name}] {key}: {words}")

    def text(self, key: str, *, required: bool = False) -> str | None:
        words = self._allowed.get(key)
        reader = parse_text if words is None else lambda value: one_of(parse_text(value), words)
        return self.require(key, reader) if required else self.read(key, reader)

    def boolean(self, key: str) -> bool | None:
        return self.read(key, parse_bool)

    def number(self, key: str) -> float | None:
        return self.read(key, parse_number)

    def integer(self, key: str, *, minimum: int) -> int | None:
        return self.read(key, lambda value: at_least(parse_int(value), minimum))

    def duration(self, key: str, *, above: float | None = None) -> float | None:
        return self.read(key, lambda value: more_than(parse_duration(value), above))

    def refuse(self, keys: Iterable[str], words: str) -> None:
        """Adds a problem for each of these keys that is present and was not read."""
        for key in keys:
            if key in self._content and key not in self._known:
                self._known.append(key)
                self.problem(key, words)

    def refuse_unread(self) -> None:
        """Adds a problem for each key that was not read."""
        for key in self._content:
            if key not in self._known:
                self.problem(key, f"unknown key{did_you_mean(key, self._known)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion for an unknown word; empty where no known one is similar."""
    import difflib  # only a wrong job file needs it

    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
