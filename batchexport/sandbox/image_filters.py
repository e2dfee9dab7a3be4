"""Which images a query asks for, in Glance's language of filters."""

from __future__ import annotations

import csv
import operator
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from multidict import MultiMapping

from batchexport.sandbox.image_records import image_record, image_size_bytes
from batchexport.sandbox.replies import Refusal
from batchexport.sandbox.settings import PROJECT_ID
from batchexport.sandbox.world import ImageView

Admits = Callable[[ImageView], bool]

#: Parameters that choose no images; sharing between projects does not exist here.
PAGE_PARAMETERS = {"limit", "marker", "sort", "sort_key", "sort_dir", "member_status"}
#: The filters that also take several values: `in:a,b`.
LISTABLE: Mapping[str, Callable[[ImageView], str]] = {
    "id": lambda view: view.export.image_id,
    "name": lambda view: view.export.image_name,
    "status": lambda view: view.status,
    "container_format": lambda view: view.export.container_format,
    "disk_format": lambda view: view.export.disk_format,
}
#: Times are kept in whole seconds, and are compared as such.
TIMES: Mapping[str, Callable[[ImageView], float]] = {
    "created_at": lambda view: int(view.export.accepted_at),
    "updated_at": lambda view: int(view.updated_at),
}
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
    "neq": operator.ne,
}
VISIBILITIES = ("public", "private", "shared", "community")


def read_filters(query: MultiMapping[str]) -> Admits:
    """A test for images that passes those the query asks for. Refuses a filter it cannot read."""
    tests = list(_tests(query))
    return lambda view: all(test(view) for test in tests)


def _tests(query: MultiMapping[str]) -> Iterator[Admits]:
    for name, text in query.items():
        if name in LISTABLE:
            yield _among(LISTABLE[name], text)
        elif name in TIMES:
            yield _at_time(name, text)
        elif name in ("size_min", "size_max"):
            yield _of_size(name, text)
        elif name in ("protected", "os_hidden"):
            yield _flagged(name, text)
        elif name == "visibility":
            yield _visible(text)
        elif name == "owner":
            yield _owned(text)
        elif name == "tag":
            yield _always(False)
        elif name not in PAGE_PARAMETERS:
            yield _with_property(name, text)


def _among(value: Callable[[ImageView], str], text: str) -> Admits:
    if not text.startswith("in:"):
        return lambda view: value(view) == text
    wanted = frozenset(next(csv.reader([text[3:]], skipinitialspace=True), ()))
    return lambda view: value(view) in wanted


def _at_time(name: str, text: str) -> Admits:
    word, colon, rest = text.partition(":")
    # A bare time has colons too: it begins with a digit, an operator never does.
    comparison, instant = (word, rest) if colon and not word[:1].isdigit() else ("eq", text)
    if comparison not in COMPARISONS:
        raise Refusal(400, "Unable to filter on a unknown operator.")
    compare, bound, value = COMPARISONS[comparison], _seconds(name, instant), TIMES[name]
    return lambda view: compare(value(view), bound)


def _seconds(name: str, instant: str) -> float:
    try:
        parsed = datetime.fromisoformat(instant)
    except ValueError:
        words = f'Bad "{name}" query filter format. Use ISO 8601 DateTime notation.'
        raise Refusal(400, words) from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _of_size(name: str, text: str) -> Admits:
    if not text.isdigit():
        raise Refusal(400, "Unable to filter on a range with a non-numeric value.")
    bound, compare = int(text), operator.ge if name == "size_min" else operator.le
    return lambda view: (size := image_size_bytes(view)) is not None and compare(size, bound)


def _flagged(name: str, text: str) -> Admits:
    if text.lower() not in ("true", "false"):
        words = f"Invalid value '{text}' for '{name}' filter. Valid values are 'true' or 'false'."
        raise Refusal(400, words)
    wanted = text.lower() == "true"
    if name == "os_hidden":
        return _always(not wanted)
    return lambda view: view.export.protected is wanted


def _owned(text: str) -> Admits:
    return lambda view: (view.export.owner or PROJECT_ID) == text


def _visible(text: str) -> Admits:
    if text == "all":
        return _always(True)
    if text not in VISIBILITIES:
        raise Refusal(400, f"Invalid visibility value: {text}")
    return lambda view: view.export.visibility == text


def _with_property(name: str, text: str) -> Admits:
    return lambda view: str(image_record(view).get(name)) == text


def _always(answer: bool) -> Admits:
    return lambda view: answer
