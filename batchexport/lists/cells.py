"""What the cells of a list may hold: texts read as values, and what is wrong with those that are none."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NoReturn
from uuid import UUID

from batchexport import image_labels
from batchexport.config.destination import read_destinations
from batchexport.config.values import duration_s
from batchexport.dialect import LENIENT, Dialect
from batchexport.errors import ConfigError
from batchexport.lists.columns import PropertyColumn
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
_MAX_TIMEOUT_S = 31 * 86_400

#: Priorities are ranks, and no measure of anything.
_MAX_PRIORITY = 1_000_000
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")

#: Keystone's limit for the name of a project, and Nova's for a region's.
_MAX_LOCATION = 255


class InvalidValue(ValueError):
    """The text is not what its column allows; the message continues a sentence that begins with the text."""


def parse_volume_id(text: str) -> str:
    """The id in lower case with hyphens, from a UUID in either case, with or without hyphens.

    Braces, quotes and `urn:uuid:` around it, as other tools write them, do not count.
    """
    match = _UUID.fullmatch(text.strip().lower())
    if match is None:
        raise InvalidValue(
            "is not a UUID; allowed: 16369c5d-384d-4e64-b37a-56d898769362 or the same without hyphens"
        )
    return str(UUID(match[1]))


def parse_image_name(text: str, *, dialect: Dialect | None) -> str:
    """The name as it is. Without a dialect it passes if either family of clouds takes it."""
    rules = dialect or LENIENT
    if (fault := rules.image_name_problem(text)) is None:
        return text
    raise InvalidValue(f"{printable(fault)}; allowed: {rules.image_name_rule}{_way_out(text, rules)}")


def _way_out(name: str, rules: Dialect) -> str:
    """A hint for a name that only the other family of clouds takes; empty where there is none."""
    if rules is LENIENT or LENIENT.image_name_problem(name):
        return ""
    return f" (the rule of {rules.name}; --dialect {LENIENT.name} takes it, where the cloud is one)"


def one_of(allowed: Sequence[str]) -> Callable[[str], str]:
    """A parser for a closed set of words, in any letter case."""

    def read(text: str) -> str:
        word = text.lower()
        if word not in allowed:
            raise InvalidValue(f"is not allowed; allowed: {', '.join(allowed)}")
        return word

    return read


def refused_by(dialect: Dialect) -> Callable[[str], NoReturn]:
    """A reader for a column that this family of clouds has no use for: whatever it holds is a fault."""

    def read(text: str) -> NoReturn:
        raise InvalidValue(f"is not taken by a cloud of the family {dialect.name}; leave it empty")

    return read


def parse_bool(text: str) -> bool:
    """A boolean, in the words that people and spreadsheets use."""
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise InvalidValue("is neither yes nor no; allowed: true, false, yes, no, 1, 0, on, off") from None


def parse_duration_s(text: str) -> float:
    """Seconds, from a number alone or with its unit."""
    try:
        seconds = duration_s(text)
    except ValueError:
        raise InvalidValue(
            "is not a duration; allowed: seconds, or a number with its unit, as in 90, 90s, 30m, 9h or 2d"
        ) from None
    if not 0 < seconds <= _MAX_TIMEOUT_S:
        raise InvalidValue("is out of range; allowed: more than 0s, at most 31d")
    return seconds


def parse_priority(text: str) -> int:
    """A whole number, of either sign."""
    if not _INTEGER.fullmatch(text) or abs(number := int(text)) > _MAX_PRIORITY:
        raise InvalidValue(f"is not a priority; allowed: whole numbers up to {_MAX_PRIORITY}, or below 0")
    return number


def parse_deliver(text: str) -> tuple[str, ...]:
    """Destinations, in their order."""
    try:
        return read_destinations(text)
    except ConfigError as error:
        raise InvalidValue(f"is no list of destinations: {error}") from error


def parse_location(text: str) -> str:
    """The name of a cloud, region or project."""
    if len(text) > _MAX_LOCATION or _CONTROL.search(text):
        raise InvalidValue(
            f"is not a name; allowed: up to {_MAX_LOCATION} characters, none a control character"
        )
    return text


def parse_properties(text: str) -> tuple[tuple[str, str], ...]:
    """The properties of an image."""
    try:
        return image_labels.parse_properties(text)
    except ValueError as error:
        raise InvalidValue(f"holds what is no property: {error}") from error


def parse_property(column: PropertyColumn) -> Callable[[str], tuple[str, str]]:
    """A parser for the value of one property."""

    def read(text: str) -> tuple[str, str]:
        try:
            return image_labels.checked_property(column.key, text)
        except ValueError as error:
            raise InvalidValue(str(error)) from error

    return read


def parse_tags(text: str) -> tuple[str, ...]:
    """The tags of an image."""
    try:
        return image_labels.parse_tags(text)
    except ValueError as error:
        raise InvalidValue(f"holds what is no tag: {error}") from error
