"""The header line of a CSV list: where it is, what separates its cells, and which column stands where."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import msgspec

from batchexport.errors import JobListError
from batchexport.joblist import values
from batchexport.joblist.columns import Column, UnknownColumnError, meaning
from batchexport.joblist.problem import Problem, shown
from batchexport.joblist.rows import Place
from batchexport.joblist.source import EndlessLineError, Source

COMMENT = "#"
_SEPARATORS = ",;\t"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the header line says. Rows can be read by it if `places` has volume_id."""

    line: int
    separator: str = _SEPARATORS[0]
    width: int = 0  #: cells a row must have; unnamed columns at the end do not count
    places: dict[Column, int]
    problems: tuple[Problem, ...]


def find_header(source: Source, lines: Iterator[str]) -> Header:
    """The first line that is neither blank nor a comment; takes it and all before it from `lines`.

    A name that means nothing is left out with a problem, a column named twice counts once. Raises
    JobListError if there is no such line.
    """
    line = 0
    try:
        for line, text in enumerate(lines, start=1):
            if text.strip() and not text.startswith(COMMENT):
                return _read_header(Place(source=source.name, line=line), text)
    except EndlessLineError as error:
        problem = Place(source=source.name, line=line + 1).problem(str(error))
        return Header(line=line + 1, places={}, problems=(problem,))
    raise JobListError(
        f"{source.name}: is empty", hint="begin with a line that names the columns: volume_id,image_name"
    )


def csv_fault(error: csv.Error) -> str:
    """What the csv module found, in words for the owner of the file."""
    words = str(error)
    if "field limit" in words:
        return "has a cell of more than 131,072 characters: a quote that opens on it may never be closed"
    if "unexpected end" in words:
        return "opens a quote that is never closed"
    if "expected after" in words:
        return 'has text behind a closing quote; inside a quoted cell, write a quote twice: ""'
    return f"is not CSV: {words}"


def _read_header(place: Place, text: str) -> Header:
    try:
        separator, names = _split(text)
    except csv.Error as error:
        return Header(line=place.line, places={}, problems=(place.problem(csv_fault(error)),))
    if _is_volume_id(names[0]):
        problem = place.problem(
            "is a row already; begin with a line that names the columns: volume_id,image_name"
        )
        return Header(line=place.line, places={}, problems=(problem,))
    places, problems = _places(place, names)
    if Column.VOLUME_ID not in places:
        found = ", ".join(names)
        problems.append(
            place.problem(f"there is no such column; found: {shown(found)}", field=Column.VOLUME_ID)
        )
    return Header(
        line=place.line, separator=separator, width=len(names), places=places, problems=tuple(problems)
    )


def _split(text: str) -> tuple[str, list[str]]:
    """The separator that yields most known columns (most names, if none is known), and the names.

    Raises csv.Error if the line is not CSV by any of them.
    """
    candidates = []
    faults = []
    for separator in _SEPARATORS:
        try:
            candidates.append((separator, next(csv.reader([text], delimiter=separator, strict=True))))
        except csv.Error as error:  # quoted names make no CSV by the separators that they are not parted with
            faults.append(error)
    if not candidates:
        raise faults[0]

    def worth(candidate: tuple[str, list[str]]) -> tuple[int, int]:
        names = candidate[1]
        return sum(map(_is_known, names)), len(names)

    separator, names = max(candidates, key=worth)
    while len(names) > 1 and not names[-1].strip():
        names.pop()
    return separator, names


def _places(place: Place, names: list[str]) -> tuple[dict[Column, int], list[Problem]]:
    places: dict[Column, int] = {}
    problems = []
    for index, name in enumerate(names):
        try:
            column = meaning(name, beside=names)
        except UnknownColumnError as error:
            problems.append(place.problem(str(error), field=f"column {index + 1}", value=name))
            continue
        if column in places:
            wrong = f"is there twice: column {places[column] + 1} is {column} already"
            problems.append(place.problem(wrong, field=f"column {index + 1}", value=name))
        elif column is not None:
            places[column] = index
    return places, problems


def _is_known(name: str) -> bool:
    try:
        meaning(name, beside=())
    except UnknownColumnError:
        return False
    return True


def _is_volume_id(text: str) -> bool:
    try:
        values.volume_id(text)
    except values.UnfitError:
        return False
    return True
