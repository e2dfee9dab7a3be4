"""What each column may hold: one function per kind of value, from text to what it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NoReturn
from uuid import UUID

from batchexport.dialect import EVS, Dialect

_UUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BOOLEANS = {
    "true": True,
    "yes": True,
    "1": True,
    "on": True,
    "false": False,
    "no": False,
    "0": False,
    "off": False,
}

#: No copy takes a month; a longer one is a slip of the pen.
_LONGEST_S = 31 * 86_400

#: Keystone's limit for the name of a project, and Nova's for a region's.
_LONGEST_PLACE = 255


class UnfitError(ValueError):
    """The text is not what its column allows; the message continues a sentence that begins with the text."""


def volume_id(text: str) -> str:
    """The id in lower case with hyphens, from a UUID in either case, with or without hyphens."""
    plain = text.strip().lower()
    if not _UUID.fullmatch(plain):
        raise UnfitError(
            "is not a UUID; allowed: 16369c5d-384d-4e64-b37a-56d898769362 or the same without hyphens"
        )
    return str(UUID(plain))


def image_name(text: str, *, dialect: Dialect | None) -> str:
    """The name as it is. Without a dialect the stricter rule counts, which is that of EVS."""
    rules = dialect or EVS
    if rules.image_name_pattern.fullmatch(text):
        return text
    raise UnfitError(f"{_name_fault(text, rules)}; allowed: {rules.image_name_rule}")


def one_of(allowed: Sequence[str]) -> Callable[[str], str]:
    """A reader of words of a closed set, in any letter case."""

    def read(text: str) -> str:
        word = text.lower()
        if word not in allowed:
            raise UnfitError(f"is not allowed; allowed: {', '.join(allowed)}")
        return word

    return read


def refused_by(dialect: Dialect) -> Callable[[str], NoReturn]:
    """A reader for a column that this family of clouds has no use for: whatever it holds is a fault."""

    def read(text: str) -> NoReturn:
        raise UnfitError(f"is not taken by a cloud of the family {dialect.name}; leave it empty")

    return read


def boolean(text: str) -> bool:
    """Yes or no, in the words that people and spreadsheets write."""
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise UnfitError("is neither yes nor no; allowed: true, false, yes, no, 1, 0, on, off") from None


def duration_s(text: str) -> float:
    """Seconds, from a number with its unit. A bare number is refused: it could be minutes as well."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise UnfitError("is not a duration; allowed: a number with its unit, as in 90s, 30m, 9h or 2d")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= _LONGEST_S:
        raise UnfitError("is out of range; allowed: more than 0s, at most 31d")
    return seconds


def place(text: str) -> str:
    """The name of a cloud, region or project."""
    if len(text) > _LONGEST_PLACE or _CONTROL.search(text):
        raise UnfitError(
            f"is not a name; allowed: up to {_LONGEST_PLACE} characters, none a control character"
        )
    return text


def _name_fault(text: str, rules: Dialect) -> str:
    """What is wrong with a name that the rules refuse, from the coarse to the fine."""
    if bad := _CONTROL.search(text):
        return f"has a control character (U+{ord(bad[0]):04X}) at position {bad.start() + 1}"
    if text != text.strip(" "):
        return "starts or ends with a space"
    for position, character in enumerate(text, start=1):
        if not rules.image_name_pattern.fullmatch(f"a{character}a"):
            return f'has "{character}" at position {position}'
    return f"is {len(text)} characters long"
