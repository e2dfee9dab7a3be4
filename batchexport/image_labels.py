"""Labels of images: properties and tags, what they may be, and what of them an image lacks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

import msgspec

#: What we say of an image's source begins like this; nobody else's property does.
OWN_PREFIX = "batchexport_"
VOLUME_ID, VOLUME_NAME = f"{OWN_PREFIX}volume_id", f"{OWN_PREFIX}volume_name"
RUN, LINE = f"{OWN_PREFIX}run", f"{OWN_PREFIX}line"
#: Glance counts 128 of each by default; some of the properties come from the volume, and four are ours.
MAX_PROPERTIES, MAX_TAGS = 100, 100
#: Glance takes longer values, IMS does not; both take keys and tags of so many characters.
MAX_LENGTH = 255

#: A key with a slash would be a path in a JSON patch; services take other characters differently.
_KEY = re.compile(r"[A-Za-z0-9_.:-]{1,255}")
#: No control characters, nor those beyond U+FFFF: the image service refuses them with 400.
_TEXT = re.compile(r"[^\x00-\x1f\x7f\U00010000-\U0010ffff]{0,255}")
#: In lists these part one tag from the next.
_TAG = re.compile(r"(?! )[^\x00-\x1f\x7f,;\U00010000-\U0010ffff]{1,255}(?<! )")
_SEPARATOR = re.compile(r"[;,]")
#: Fields of an image that are no properties: set by their own options, or by the cloud alone.
_OF_IMAGE = frozenset(
    (
        *("id", "name", "status", "visibility", "protected", "owner", "size", "virtual_size", "checksum"),
        *("created_at", "updated_at", "self", "file", "schema", "tags", "members", "stores", "locations"),
        *("direct_url", "disk_format", "container_format", "min_disk", "min_ram", "deleted", "deleted_at"),
    )
)
_RESERVED = ("os_glance", "os_hash_", "os_hidden", OWN_PREFIX)


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """Properties and tags of an image."""

    properties: Mapping[str, str] = {}
    tags: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.properties or self.tags)

    def lacking_in(self, there: Labels) -> Labels:
        """What of these an image has not, or has otherwise, that has the labels `there`.

        Where a tag is lacking, all tags that the image is to have: they are set as a whole.
        """
        properties = {
            key: value for key, value in self.properties.items() if there.properties.get(key) != value
        }
        tags = () if set(self.tags) <= set(there.tags) else tuple(dict.fromkeys(there.tags + self.tags))
        return Labels(properties=properties, tags=tags)


class LabelledImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image as it was read to see its labels."""

    status: str  #: the cloud's word, lower case
    labels: Labels  #: every field of the image that is a text counts as a property


def parse_property(text: str) -> tuple[str, str]:
    """A property from `KEY=VALUE`. Raises ValueError."""
    key, sign, value = text.partition("=")
    if not sign:
        raise ValueError(f"{text!r} is not KEY=VALUE")
    return checked_property(key.strip(), value.strip())


def checked_property(key: str, value: str) -> tuple[str, str]:
    """The property. Raises ValueError where it cannot be one that users set."""
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"{key!r} is not a key; allowed: 1 to {MAX_LENGTH} letters, digits, hyphens, underscores,"
            " periods and colons"
        )
    if key in _OF_IMAGE or key.startswith(_RESERVED):
        raise ValueError(f"{key} is not for users to set; choose another key")
    if not _TEXT.fullmatch(value):
        raise ValueError(
            f"the value of {key} is not allowed; allowed: up to {MAX_LENGTH} characters, no control"
            " characters or emoji"
        )
    return key, value


def checked_properties(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The properties, each key once. Raises ValueError."""
    found: dict[str, str] = {}
    for key, value in pairs:
        name, text = checked_property(key, value)
        if found.setdefault(name, text) != text:
            raise ValueError(f"{name} is given twice: {found[name]!r} and {text!r}")
    if len(found) > MAX_PROPERTIES:
        raise ValueError(f"{len(found)} properties are too many; allowed: {MAX_PROPERTIES}")
    return tuple(found.items())


def parse_properties(text: str) -> tuple[tuple[str, str], ...]:
    """The properties of a list's cell: a JSON object, or `KEY=VALUE` with semicolons between. ValueError."""
    if not text.lstrip().startswith("{"):
        return checked_properties(parse_property(each) for each in text.split(";") if each.strip())
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not a JSON object: {error}") from error
    return properties_of(content)


def properties_of(content: object) -> tuple[tuple[str, str], ...]:
    """The properties that a mapping says. Raises ValueError."""
    if not isinstance(content, Mapping):
        raise ValueError("must be a table of keys and texts")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValueError(f"the value of {key} must be a text")
    return checked_properties(content.items())


def properties_text(properties: Iterable[tuple[str, str]]) -> str:
    """The properties as a list's cell holds them."""
    return json.dumps(dict(properties), ensure_ascii=False)


def parse_tag(text: str) -> str:
    """A tag. Raises ValueError."""
    if not _TAG.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a tag; allowed: 1 to {MAX_LENGTH} characters, no commas, semicolons, control"
            " characters or emoji"
        )
    return text


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags, each once. Raises ValueError."""
    found = tuple(dict.fromkeys(map(parse_tag, tags)))
    if len(found) > MAX_TAGS:
        raise ValueError(f"{len(found)} tags are too many; allowed: {MAX_TAGS}")
    return found


def parse_tags(text: str) -> tuple[str, ...]:
    """The tags of a list's cell, with semicolons or commas between. Raises ValueError."""
    return checked_tags(each.strip() for each in _SEPARATOR.split(text) if each.strip())


def tags_text(tags: Iterable[str]) -> str:
    """The tags as a list's cell holds them."""
    return ";".join(tags)


def source_properties(
    *, volume_id: str, volume_name: str | None, run_id: str, line: int | None
) -> dict[str, str]:
    """What an image was made of. Of the name only what an image service takes."""
    found = {VOLUME_ID: volume_id, RUN: run_id}
    if line is not None:
        found[LINE] = str(line)
    if volume_name:
        found[VOLUME_NAME] = "".join(
            each if each.isprintable() and ord(each) < 0x10000 else "?" for each in volume_name
        )[:MAX_LENGTH]
    return found
