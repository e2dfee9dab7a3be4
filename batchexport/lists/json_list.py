"""Job lists in JSON and JSON Lines, row by row."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence

import msgspec

from batchexport.dialect import Dialect
from batchexport.lists.columns import Column, UnknownColumnError, meaning, plain
from batchexport.lists.csv_header import SAVE_AS_UTF8
from batchexport.lists.json_row import JsonRowReader
from batchexport.lists.problem import NoRowsError, Problem
from batchexport.lists.rows import Place
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

Found = Generator[JobRow | Problem, None, int]


def read_json_lines(source: Source, dialect: Dialect | None) -> Found:
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
                    yield from _read_row(reader, Place(source=source.name, line=line), text)
    except EndlessLineError as error:
        yield Place(source=source.name, line=line + 1).problem(str(error))
    return rows


def read_json(source: Source, dialect: Dialect | None) -> Found:
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
        yield Place(source=source.name, line=line).problem(wrong)
        return 0
    yield from problems
    if not elements and not problems:
        raise NoRowsError(f"{source.name}: has no rows", hint="add an object for each volume to the array")
    reader = JsonRowReader(dialect)
    for number, element in enumerate(elements, start=1):
        yield from _read_row(reader, Place(source=source.name, line=number, counted="element"), element)
    return len(elements)


def _elements(document: bytes, name: str) -> tuple[Sequence[msgspec.Raw | bytes], list[Problem]]:
    """The rows, still encoded, and what is wrong around them."""
    if document.lstrip().startswith(b"["):
        return _ROWS.decode(document), []
    place = Place(source=name, line=1)
    entries = _DOCUMENT.decode(document)
    if twice := _key_there_twice(document, entries, inside=False):
        return [], [place.problem("is there twice", value=twice)]
    if "jobs" in entries:
        rows = _ROWS.decode(entries.pop("jobs"))
        return rows, [] if entries.keys() >= _REPORT_KEYS else _misplaced(place, entries, beside="jobs")
    if "volumes" in entries:
        rows = _ROWS.decode(entries.pop("volumes"))
        ours = [key for key in entries if plain(key) in _OURS]
        return rows, [*_misplaced(place, ours, beside="volumes"), *_missing(place, entries, len(rows))]
    if any(_is_id(key, entries) for key in entries):
        return [document], []
    wrong = (
        'the document has no "jobs"; allowed: {"jobs": [...]}, {"volumes": [...]}, or an array, or one '
        "object on each line"
    )
    return [], [place.problem(wrong)]


def _misplaced(place: Place, keys: Iterable[str], *, beside: str) -> list[Problem]:
    return [place.problem(f'does not belong beside "{beside}"; take it out', value=key) for key in keys]


def _missing(place: Place, entries: Mapping[str, msgspec.Raw], rows: int) -> list[Problem]:
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
    return [place.problem(wrong)]


def _is_id(key: str, beside: Iterable[str]) -> bool:
    try:
        return meaning(key, beside=frozenset(map(plain, beside))) is Column.VOLUME_ID
    except UnknownColumnError:
        return False


def _key_there_twice(text: bytes, entries: Mapping[str, object], *, inside: bool) -> str | None:
    """A key that is there twice in this object, of which the decoder keeps the last; None = there is none.

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


def _read_row(reader: JsonRowReader, place: Place, text: bytes | msgspec.Raw) -> Sequence[JobRow | Problem]:
    raw = bytes(text).strip()
    try:
        if raw.startswith(b'"'):
            return reader.read(place, {Column.VOLUME_ID: _ID.decode(raw)})
        row = _ROW.decode(raw)
        twice = _key_there_twice(raw, row, inside=True)
    except _DECODE_ERRORS as error:
        return (place.problem(_fault(raw, error)[1]),)
    if twice is not None:
        return (place.problem("is there twice in one row; which of the two is meant?", value=twice),)
    return reader.read(place, row)


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
