"""Job lists in JSON and JSON Lines. A row may hold the API's own `"os-volume_upload_image"` object."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from batchexport.dialect import Dialect
from batchexport.image_labels import properties_text, tags_text
from batchexport.lists.cells import InvalidValue, parse_properties
from batchexport.lists.columns import (
    COMMON_COLUMNS,
    Column,
    PropertyColumn,
    UnknownColumnError,
    is_status_of_others,
    meaning,
    meanings,
    plain,
    status_fault,
)
from batchexport.lists.csv_text import SAVE_AS_UTF8
from batchexport.lists.problem import Location, NoRowsError, Problem, shown
from batchexport.lists.rows import Chunks, RawRow, RowChecker
from batchexport.lists.source import EndlessLineError, Source
from batchexport.model import JobRow

_ROW = msgspec.json.Decoder(dict[str, object])
_ID = msgspec.json.Decoder(str)
_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_DOCUMENT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OURS = frozenset(column.value for column in Column)
#: What a report in JSON has beside its rows.
_REPORT_KEYS = frozenset({"run", "totals"})
#: The end of what may be a key.
_KEY_END = re.compile(rb'"\s*:')

#: What msgspec raises for what is not JSON, not UTF-8, or nested without end.
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_OFFSET = re.compile(r" \(byte (\d+)\)")

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


def read_json_lines(source: Source, dialect: Dialect | None) -> Chunks:
    """Rows and problems line by line; blank lines and comments do not count. Returns the number of rows,
    good and bad.
    """
    reader = JsonRowReader(dialect)
    rows = line = 0
    try:
        for block in source.blocks():
            for text in block.splitlines():
                line += 1
                if text.strip() and not text.lstrip().startswith(b"#"):
                    rows += 1
                    yield from _read_row(reader, Location(source=source.name, line=line), text)
    except EndlessLineError as error:
        yield Location(source=source.name, line=line + 1).problem(str(error))
    return rows


def read_json(source: Source, dialect: Dialect | None) -> Chunks:
    """Rows and problems of an array, or of that under `"jobs"` or `"volumes"`. Returns the number of
    rows, good and bad.

    The document is held in memory as a whole, and a row's `line` is its number in the array: for millions of
    rows use JSON Lines. Raises NoRowsError if the array is empty.
    """
    document = source.rest()
    try:
        elements, problems = _elements(document, source.name)
    except _DECODE_ERRORS as error:
        line, wrong = _fault(document, error)
        yield Location(source=source.name, line=line).problem(wrong)
        return 0
    yield from problems
    if not elements and not problems:
        raise NoRowsError(f"{source.name}: has no rows", hint="add an object for each volume to the array")
    reader = JsonRowReader(dialect)
    for number, element in enumerate(elements, start=1):
        yield from _read_row(reader, Location(source=source.name, line=number, counted="element"), element)
    return len(elements)


def _elements(document: bytes, name: str) -> tuple[Sequence[msgspec.Raw | bytes], list[Problem]]:
    """The rows, still encoded, and what is wrong around them."""
    if document.lstrip().startswith(b"["):
        return _ROWS.decode(document), []
    location = Location(source=name, line=1)
    entries = _DOCUMENT.decode(document)
    if twice := _key_there_twice(document, entries, inside=False):
        return [], [location.problem("occurs twice", value=twice)]
    if "jobs" in entries:
        rows = _ROWS.decode(entries.pop("jobs"))
        return rows, [] if entries.keys() >= _REPORT_KEYS else _misplaced(location, entries, beside="jobs")
    if "volumes" in entries:
        rows = _ROWS.decode(entries.pop("volumes"))
        ours = [key for key in entries if plain(key) in _OURS]
        return rows, [*_misplaced(location, ours, beside="volumes"), *_missing(location, entries, len(rows))]
    if any(_is_id(key, entries) for key in entries):
        return [document], []
    wrong = (
        'the document has no "jobs"; allowed: {"jobs": [...]}, {"volumes": [...]}, or an array, or one '
        "object on each line"
    )
    return [], [location.problem(wrong)]


def _misplaced(location: Location, keys: Iterable[str], *, beside: str) -> list[Problem]:
    return [location.problem(f'does not belong beside "{beside}"; take it out', value=key) for key in keys]


def _missing(location: Location, entries: Mapping[str, msgspec.Raw], rows: int) -> list[Problem]:
    """A problem where an answer of the API is the first page of several."""
    more = bytes(entries.get("volumes_links", b""))
    count = bytes(entries.get("count", b""))
    if b'"next"' not in more and not (count.isdigit() and int(count) > rows):
        return []
    of_all = f" of {int(count)}" if count.isdigit() else ""
    wrong = (
        f"the document holds {rows} volumes{of_all}, one page of the answer: fetch the others too, or let "
        "`batchexport discover` make the list"
    )
    return [location.problem(wrong)]


def _is_id(key: str, beside: Iterable[str]) -> bool:
    try:
        return meaning(key, beside=frozenset(map(plain, beside))) is Column.VOLUME_ID
    except UnknownColumnError:
        return False


def _key_there_twice(text: bytes, entries: Mapping[str, object], *, inside: bool) -> str | None:
    """A key that occurs twice in this object, of which the decoder keeps the last; None = there is none.

    With `inside`, objects in it count as well.
    """
    if inside and text.count(b":") == len(entries):  # most rows; each key has its own
        return None
    twice: list[str | None] = []

    def noted(pairs: list[tuple[str, object]]) -> None:
        times = Counter(key for key, _ in pairs)
        twice.append(next((key for key in times if times[key] > 1), None))

    if inside and len(_KEY_END.findall(text)) == len(entries):
        return None  # no more keys than were kept
    if not inside and all(_times(key, text) == 1 for key in entries):
        return None
    json.loads(text, object_pairs_hook=noted)  # the outermost object is the last to be complete
    return next(filter(None, twice), None) if inside else twice[-1]


def _times(key: str, text: bytes) -> int:
    return len(re.findall(re.escape(msgspec.json.encode(key)) + rb"\s*:", text))


def _read_row(
    reader: JsonRowReader, location: Location, text: bytes | msgspec.Raw
) -> Sequence[JobRow | Problem]:
    raw = bytes(text).strip()
    try:
        if raw.startswith(b'"'):
            return reader.read(location, {Column.VOLUME_ID: _ID.decode(raw)})
        row = _ROW.decode(raw)
        twice = _key_there_twice(raw, row, inside=True)
    except _DECODE_ERRORS as error:
        return (location.problem(_fault(raw, error)[1]),)
    if twice is not None:
        return (location.problem("occurs twice in one row; keep one of the two", value=twice),)
    return reader.read(location, row)


def _fault(text: bytes, error: Exception) -> tuple[int, str]:
    """The line of the text, from 1, and what is wrong there; 1 as well where the decoder does not tell."""
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start]
        return 1, f"is not UTF-8: byte 0x{byte:02X}; {SAVE_AS_UTF8}"
    if isinstance(error, RecursionError):
        return 1, "is nested too deeply to be a row"
    if isinstance(error, msgspec.ValidationError):
        return 1, f'is not what a list holds: {error}; a row looks like {{"volume_id": "…"}}'
    words = str(error).removeprefix("JSON is malformed: ")
    if "trailing characters" in words and text.lstrip().startswith(b"{"):
        return 1, "holds one object after the other: put each on a line of its own (jq -c), or all in [ ]"
    match = _OFFSET.search(words)
    before = text[: int(match[1])] if match else text
    line = before.count(b"\n") + 1
    column = len(before) - before.rfind(b"\n")
    return line, f"is not JSON at byte {column} of the line: {_OFFSET.sub('', words)}"


def row_of(value: object) -> Mapping[str, object] | None:
    """The row that a value of a list stands for: an object, or the id alone; None = it is no row."""
    if isinstance(value, dict):
        return value
    return {Column.VOLUME_ID: value} if isinstance(value, str) else None


class JsonRowReader:
    """Makes rows of decoded JSON objects. An unknown key is reported once for the whole list."""

    def __init__(self, dialect: Dialect | None) -> None:
        self._checker = RowChecker(dialect=dialect, common=COMMON_COLUMNS)
        self._reported: set[str] = set()

    def read(self, location: Location, row: Mapping[str, object]) -> Sequence[JobRow | Problem]:
        """The job, or every problem of the row."""
        status = row.get("status", row.get("Status"))
        if isinstance(status, str) and is_status_of_others(status) and ("id" in row or "ID" in row):
            return (location.problem(status_fault(status)),)
        said = _Collected(location, self._reported)
        said.take(row)
        texts = RawRow(
            volume_id=said.texts.get(Column.VOLUME_ID, ""),
            image_name=said.texts.get(Column.IMAGE_NAME, ""),
            volume_name=said.texts.get(Column.VOLUME_NAME),
            common=tuple([said.texts.get(column, "") for column in COMMON_COLUMNS]),
        )
        found = self._checker.read(location, texts)
        if not said.problems:
            return found
        told = {problem.field for problem in said.problems}
        more = [item for item in found if isinstance(item, Problem) and item.field not in told]
        return said.problems + more


class _Collected:
    """The values of a row by column, from the row itself and the API's object in it."""

    def __init__(self, location: Location, told: set[str]) -> None:
        self.texts: dict[Column, str] = {}
        self._properties: dict[str, str] = {}
        self.problems: list[Problem] = []
        self._place = location
        self._reported = told

    def take(self, row: Mapping[str, object]) -> None:
        """Collect the values of the row, and the problems of its keys and of the types of its values."""
        for (key, value), column in zip(row.items(), meanings(tuple(row)), strict=True):
            if key != _ACTION:
                self._take_entry(key, value, column)
            elif isinstance(value, dict):
                self._take_action(value)
            else:
                wrong = "is not an object as the API takes it"
                self.problems.append(self._place.problem(wrong, field=_ACTION, value=_as_json(value)))
        if self._properties:
            self._add_properties()

    def _add_properties(self) -> None:
        """Add the properties that have keys of their own to those of `image_properties`."""
        try:
            others = dict(parse_properties(self.texts.get(Column.IMAGE_PROPERTIES, "")))
        except InvalidValue:
            return  # told with the row
        self.texts[Column.IMAGE_PROPERTIES] = properties_text((others | self._properties).items())

    def _take_action(self, action: Mapping[str, object]) -> None:
        for (key, value), column in zip(action.items(), meanings(tuple(action)), strict=True):
            if column in _ACTION_COLUMNS:
                self._take_entry(key, value, column)
            else:
                allowed = ", ".join(column for column in Column if column in _ACTION_COLUMNS)
                wrong = f"does not belong in the API's object; allowed: {allowed}"
                self.problems.append(self._place.problem(wrong, field=_ACTION, value=key))

    def _take_entry(
        self, key: str, value: object, column: Column | PropertyColumn | UnknownColumnError | None
    ) -> None:
        if isinstance(column, UnknownColumnError):
            if key not in self._reported:
                self._reported.add(key)
                self.problems.append(self._place.problem(str(column), value=key))
            return
        if column is None:
            return
        if isinstance(column, PropertyColumn):
            self._take_property(column, value)
            return
        try:
            text = _text(column, value)
        except InvalidValue as error:
            self.problems.append(self._place.problem(str(error), field=column, value=_as_json(value)))
            return
        if not text and column is Column.VOLUME_NAME:
            self.texts.setdefault(column, "")  # known to have none, unlike a name that is not given
        if text and (first := self.texts.setdefault(column, text)) != text:
            wrong = f"contradicts another value of the row: {shown(first)}"
            self.problems.append(self._place.problem(wrong, field=column, value=text))

    def _take_property(self, column: PropertyColumn, value: object) -> None:
        if isinstance(value, str):
            self._properties[column.key] = value
        elif value is not None:
            wrong = "is not a text; write it in quotes"
            self.problems.append(self._place.problem(wrong, field=column, value=_as_json(value)))


def _text(column: Column, value: object) -> str:
    """The value as a CSV cell would hold it; null is empty. Raises InvalidValue for a wrong type."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if column in _NAMES and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if column is Column.IMAGE_PROPERTIES and isinstance(value, dict):
        return _as_json(value)
    if column is Column.IMAGE_TAGS and isinstance(value, list):
        return tags_text(map(str, value))
    if column in _YES_OR_NO:
        if isinstance(value, bool):
            return "true" if value else "false"
        raise InvalidValue("is neither yes nor no; allowed: true, false")
    if column is Column.PRIORITY and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if column is Column.PRIORITY:
        raise InvalidValue("is not a whole number")
    if column is Column.TIMEOUT and isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}" if value < 1e6 else str(value)
    if column is Column.TIMEOUT:
        raise InvalidValue('is not a duration; allowed: a text with a unit, as in "90s", "30m", "9h" or "2d"')
    raise InvalidValue("is not a text; write it in quotes")


def _as_json(value: object) -> str:
    return msgspec.json.encode(value).decode("utf-8", errors="replace")
