"""What each column may hold: one function per kind of value, from text to what it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NoReturn
from uuid import UUID

from batchexport.config.values import duration_s as config_duration_s
from batchexport.dialect import LENIENT, Dialect
from batchexport.lists.problem import printable

_UUID = re.compile(
    r"(?:urn:uuid:)?[{'\"]*"
    r"([0-9a-f]{8}(-?)[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{12})"
    r"[}'\"]*"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
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
    """The id in lower case with hyphens, from a UUID in either case, with or without hyphens.

    Braces, quotes and `urn:uuid:` around it, as other tools write them, do not count.
    """
    match = _UUID.fullmatch(text.strip().lower())
    if match is None:
        raise UnfitError(
            "is not a UUID; allowed: 16369c5d-384d-4e64-b37a-56d898769362 or the same without hyphens"
        )
    return str(UUID(match[1]))


def image_name(text: str, *, dialect: Dialect | None) -> str:
    """The name as it is. Without a dialect it passes if either family of clouds takes it."""
    rules = dialect or LENIENT
    if (fault := rules.image_name_fault(text)) is None:
        return text
    raise UnfitError(f"{printable(fault)}; allowed: {rules.image_name_rule}{_way_out(text, rules)}")


def _way_out(name: str, rules: Dialect) -> str:
    """What to say of a name that only clouds of the other family take."""
    if rules is LENIENT or LENIENT.image_name_fault(name):
        return ""
    return f" (the rule of {rules.name}; --dialect {LENIENT.name} takes it, where the cloud is one)"


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
    """Seconds, from a number alone or with its unit."""
    try:
        seconds = config_duration_s(text)
    except ValueError:
        raise UnfitError(
            "is not a duration; allowed: seconds, or a number with its unit, as in 90, 90s, 30m, 9h or 2d"
        ) from None
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
