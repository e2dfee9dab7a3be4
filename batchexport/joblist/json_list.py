"""Job lists in JSON and JSON Lines, row by row."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence

import msgspec

from batchexport.dialect import Dialect
from batchexport.joblist.json_row import JsonRowReader
from batchexport.joblist.problem import NoRowsError, Problem
from batchexport.joblist.rows import Place
from batchexport.joblist.source import EndlessLineError, Source
from batchexport.model import JobRow

_ROW = msgspec.json.Decoder(dict[str, object])
_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_DOCUMENT = msgspec.json.Decoder(dict[str, msgspec.Raw])

#: What msgspec raises for what is not JSON, not UTF-8, or nested without end.
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_OFFSET = re.compile(r" \(byte (\d+)\)")

Found = Generator[JobRow | Problem, None, int]


def read_json_lines(source: Source, dialect: Dialect | None) -> Found:
    """Rows and problems line by line; blank lines do not count. Returns the number of rows, good and bad."""
    reader = JsonRowReader(dialect)
    rows = line = 0
    try:
        for block in source.blocks():
            for text in block.splitlines():
                line += 1
                if text.strip():
                    rows += 1
                    yield from _read_row(reader, Place(source=source.name, line=line), text)
    except EndlessLineError as error:
        yield Place(source=source.name, line=line + 1).problem(str(error))
    return rows


def read_json(source: Source, dialect: Dialect | None) -> Found:
    """Rows and problems of an array, or of that under `"jobs"`. Returns the number of rows, good and bad.

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


def _elements(document: bytes, name: str) -> tuple[list[msgspec.Raw], list[Problem]]:
    """The rows, still encoded, and what is wrong around them."""
    if document.lstrip().startswith(b"["):
        return _ROWS.decode(document), []
    place = Place(source=name, line=1)
    entries = _DOCUMENT.decode(document)
    jobs = entries.pop("jobs", None)
    if jobs is None:
        wrong = (
            'the document has no "jobs"; allowed: {"jobs": [...]}, or an array, or one object on each line'
        )
        return [], [place.problem(wrong)]
    problems = [place.problem('does not belong beside "jobs"; take it out', value=key) for key in entries]
    return _ROWS.decode(jobs), problems


def _read_row(reader: JsonRowReader, place: Place, text: bytes | msgspec.Raw) -> Sequence[JobRow | Problem]:
    try:
        row = _ROW.decode(text)
    except _DECODE_ERRORS as error:
        return (place.problem(_fault(bytes(text), error)[1]),)
    return reader.read(place, row)


def _fault(text: bytes, error: Exception) -> tuple[int, str]:
    """The line of the text, from 1, and what is wrong there; 1 as well where the decoder does not tell."""
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start]
        return 1, f"is not UTF-8: byte 0x{byte:02X}; save the list as UTF-8"
    if isinstance(error, RecursionError):
        return 1, "is nested too deeply to be a row"
    if isinstance(error, msgspec.ValidationError):
        return 1, f'is not what a list holds: {error}; a row looks like {{"volume_id": "…"}}'
    words = str(error).removeprefix("JSON is malformed: ")
    match = _OFFSET.search(words)
    before = text[: int(match[1])] if match else text
    line = before.count(b"\n") + 1
    column = len(before) - before.rfind(b"\n")
    return line, f"is not JSON at byte {column} of the line: {_OFFSET.sub('', words)}"
