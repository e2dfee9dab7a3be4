"""Pages and their order, as block storage and images both read them from a query."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import dropwhile
from typing import TypeVar
from urllib.parse import urlencode

import msgspec
from multidict import MultiMapping

from batchexport.sandbox.responses import Refusal

Item = TypeVar("Item")


class Sort(msgspec.Struct, frozen=True, kw_only=True):
    """One criterion of an order."""

    key: str
    descending: bool


NEWEST_FIRST = (Sort(key="created_at", descending=True),)


def read_limit(query: Mapping[str, str], *, default: int, maximum: int) -> int:
    """The size of the page asked for. More than `maximum` is cut to it, not refused."""
    text = query.get("limit")
    if text is None:
        return default
    try:
        limit = int(text)
    except ValueError:
        raise Refusal(400, "limit param must be an integer") from None
    if limit < 0:
        raise Refusal(400, "limit param must be positive")
    return min(limit, maximum)


def read_sort(
    query: MultiMapping[str], *, keys: Container[str], bad_key: Callable[[str], str]
) -> tuple[Sort, ...]:
    """The order asked for; newest first by default.

    Both spellings are read: `sort=key:dir,…` and `sort_key=…&sort_dir=…`.
    """
    if "sort" in query and ("sort_key" in query or "sort_dir" in query):
        raise Refusal(400, "Old and new sorting syntax cannot be combined")
    sorts = tuple(_new_syntax(query["sort"]) if "sort" in query else _old_syntax(query))
    for sort in sorts:
        if sort.key not in keys:
            raise Refusal(400, bad_key(sort.key))
    return sorts or NEWEST_FIRST


def in_order(
    items: Iterable[Item], sorts: Sequence[Sort], *, value: Callable[[Item, str], str | float]
) -> list[Item]:
    """The items sorted; `value` reads the key of a criterion from an item."""
    sorted_items = list(items)
    for sort in reversed(sorts):  # sorting is stable: the first criterion is applied last
        sorted_items.sort(key=partial(_swapped, value, sort.key), reverse=sort.descending)
    return sorted_items


def behind(items: Iterable[Item], is_marker: Callable[[Item], bool]) -> Iterator[Item]:
    """The items that follow the marker."""
    from_marker = dropwhile(lambda item: not is_marker(item), items)
    next(from_marker, None)
    return from_marker


def link(path: str, query: MultiMapping[str], *, marker: str | None = None) -> str:
    """The path with the same query, but from behind `marker`; None = from the start."""
    pairs = [(name, text) for name, text in query.items() if name != "marker"]
    if marker is not None:
        pairs.append(("marker", marker))
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _swapped(value: Callable[[Item, str], str | float], key: str, item: Item) -> str | float:
    return value(item, key)


def _new_syntax(text: str) -> Iterator[Sort]:
    for part in text.split(","):
        key, _, direction = part.strip().partition(":")
        yield Sort(key=key, descending=_is_descending(direction))


def _old_syntax(query: MultiMapping[str]) -> Iterator[Sort]:
    directions = query.getall("sort_dir", [])
    for place, key in enumerate(query.getall("sort_key", [])):
        yield Sort(key=key, descending=_is_descending(directions[place] if place < len(directions) else ""))


def _is_descending(direction: str) -> bool:
    """Whether the direction is descending, as it is by default in both services."""
    if direction not in ("", "asc", "desc"):
        raise Refusal(400, f"Invalid sort direction: {direction}")
    return direction != "asc"
