"""One row of a JSON list; it may hold the API's own `"os-volume_upload_image"` object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from batchexport.dialect import Dialect
from batchexport.lists.columns import (
    COMMON_COLUMNS,
    Column,
    UnknownColumnError,
    is_status_of_others,
    meanings,
    status_fault,
)
from batchexport.lists.problem import Problem, shown
from batchexport.lists.rows import Place, RowChecker, Texts
from batchexport.lists.values import UnfitError
from batchexport.model import JobRow

_ACTION = "os-volume_upload_image"
_ACTION_COLUMNS = frozenset(
    {
        Column.IMAGE_NAME,
        Column.DISK_FORMAT,
        Column.CONTAINER_FORMAT,
        Column.FORCE,
        Column.OS_TYPE,
        Column.VISIBILITY,
        Column.PROTECTED,
    }
)
_YES_OR_NO = frozenset({Column.FORCE, Column.PROTECTED})
#: A name of digits alone is a number to some that write JSON.
_NAMES = frozenset({Column.IMAGE_NAME, Column.VOLUME_NAME})


def row_of(value: object) -> Mapping[str, object] | None:
    """The row that a value of a list stands for: an object, or the id alone; None = it is no row."""
    if isinstance(value, dict):
        return value
    return {Column.VOLUME_ID: value} if isinstance(value, str) else None


class JsonRowReader:
    """Makes rows of decoded JSON objects. A key that means nothing is told once for the whole list."""

    def __init__(self, dialect: Dialect | None) -> None:
        self._checker = RowChecker(dialect=dialect, common=COMMON_COLUMNS)
        self._told: set[str] = set()

    def read(self, place: Place, row: Mapping[str, object]) -> Sequence[JobRow | Problem]:
        """The job, or every problem of the row."""
        status = row.get("status", row.get("Status"))
        if isinstance(status, str) and is_status_of_others(status) and ("id" in row or "ID" in row):
            return (place.problem(status_fault(status)),)
        said = _Said(place, self._told)
        said.take(row)
        texts = Texts(
            volume_id=said.texts.get(Column.VOLUME_ID, ""),
            image_name=said.texts.get(Column.IMAGE_NAME, ""),
            volume_name=said.texts.get(Column.VOLUME_NAME),
            common=tuple([said.texts.get(column, "") for column in COMMON_COLUMNS]),
        )
        found = self._checker.read(place, texts)
        if not said.problems:
            return found
        told = {problem.field for problem in said.problems}
        more = [item for item in found if isinstance(item, Problem) and item.field not in told]
        return said.problems + more


class _Said:
    """What a row says in each column, gathered from the row itself and the API's object in it."""

    def __init__(self, place: Place, told: set[str]) -> None:
        self.texts: dict[Column, str] = {}
        self.problems: list[Problem] = []
        self._place = place
        self._told = told

    def take(self, row: Mapping[str, object]) -> None:
        """Take over what the row says, and what is wrong with its keys and the types of its values."""
        for (key, value), column in zip(row.items(), meanings(tuple(row)), strict=True):
            if key != _ACTION:
                self._take_entry(key, value, column)
            elif isinstance(value, dict):
                self._take_action(value)
            else:
                wrong = "is not an object as the API takes it"
                self.problems.append(self._place.problem(wrong, field=_ACTION, value=_as_json(value)))

    def _take_action(self, action: Mapping[str, object]) -> None:
        for (key, value), column in zip(action.items(), meanings(tuple(action)), strict=True):
            if column in _ACTION_COLUMNS:
                self._take_entry(key, value, column)
            else:
                allowed = ", ".join(column for column in Column if column in _ACTION_COLUMNS)
                wrong = f"does not belong in the API's object; allowed: {allowed}"
                self.problems.append(self._place.problem(wrong, field=_ACTION, value=key))

    def _take_entry(self, key: str, value: object, column: Column | UnknownColumnError | None) -> None:
        if isinstance(column, UnknownColumnError):
            if key not in self._told:
                self._told.add(key)
                self.problems.append(self._place.problem(str(column), value=key))
            return
        if column is None:
            return
        try:
            text = _text(column, value)
        except UnfitError as error:
            self.problems.append(self._place.problem(str(error), field=column, value=_as_json(value)))
            return
        if not text and column is Column.VOLUME_NAME:
            self.texts.setdefault(column, "")  # said to have none, which is not the same as not said
        if text and (first := self.texts.setdefault(column, text)) != text:
            wrong = f"is said a second time: the row says {shown(first)} as well"
            self.problems.append(self._place.problem(wrong, field=column, value=text))


def _text(column: Column, value: object) -> str:
    """The value as a CSV cell would hold it; null says nothing. Raises UnfitError for a wrong type."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if column in _NAMES and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if column in _YES_OR_NO:
        if isinstance(value, bool):
            return "true" if value else "false"
        raise UnfitError("is neither yes nor no; allowed: true, false")
    if column is Column.TIMEOUT and isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}" if value < 1e6 else str(value)
    if column is Column.TIMEOUT:
        raise UnfitError('is not a duration; allowed: a text with a unit, as in "90s", "30m", "9h" or "2d"')
    raise UnfitError("is not a text; write it in quotes")


def _as_json(value: object) -> str:
    return msgspec.json.encode(value).decode("utf-8", errors="replace")
