"""The text of a CSV list: header line, separators, comments, damage, and cells that look like formulas."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import msgspec

from batchexport.errors import JobListError
from batchexport.lists import cells
from batchexport.lists.columns import Column, PropertyColumn, UnknownColumnError, meaning, plain
from batchexport.lists.problem import Location, Problem, shown
from batchexport.lists.source import EndlessLineError, Source

COMMENT = "#"
_SEPARATORS = ",;\t|"
#: What Excel writes before the header to tell itself the separator.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*')
#: The csv module takes a quote after a space for text, unless it is told to skip spaces.
_BLANK_BEFORE_QUOTE = re.compile(r'[,;\t|] +"')
SAVE_AS_UTF8 = (
    'save the list as UTF-8 (in Excel: "CSV UTF-8"), or name its encoding: --encoding gb18030, cp1252 …'
)
#: What stands in the text for a byte that is not UTF-8.
LOST_BYTE = re.compile("[\udc80-\udcff]")

#: A spreadsheet takes such a cell for a formula, and could send data away with it. Names are other people's
#: words: an apostrophe makes them text, and reading removes it. Full-width signs count as well.
_FORMULA = re.compile("'*[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed header line. Rows can be read by it if `places` has volume_id."""

    line: int
    separator: str = _SEPARATORS[0]
    width: int = 0  #: cells a row must have; unnamed columns at the end do not count
    status_place: int | None = None  #: in a tool's list; None = it has no status
    skips_blanks: bool = False  #: blanks behind a separator do not count
    places: dict[Column | PropertyColumn, int]
    problems: tuple[Problem, ...]


def find_header(source: Source, lines: Iterator[str]) -> Header:
    """The first line that is neither blank nor a comment; takes it and all before it from `lines`.

    A name that means nothing is left out with a problem, a column named twice counts once. Raises
    JobListError if there is no such line.
    """
    line, separators = 0, _SEPARATORS
    try:
        for line, text in enumerate(lines, start=1):
            if said := _SEPARATOR_LINE.fullmatch(text):
                separators = said[1]
            elif text.strip() and not is_comment(text):
                return _read_header(Location(source=source.name, line=line), text, separators)
    except EndlessLineError as error:
        problem = Location(source=source.name, line=line + 1).problem(str(error))
        return Header(line=line + 1, places={}, problems=(problem,))
    raise JobListError(
        f"{source.name}: is empty", hint="begin with a line that names the columns: volume_id,image_name"
    )


def is_comment(cell: str) -> bool:
    """Whether a line that begins with this cell is a comment."""
    return cell.lstrip().startswith(COMMENT)


def lost_byte(text: str) -> str | None:
    """The problem of the first byte that is not UTF-8; None = all are."""
    if (lost := LOST_BYTE.search(text)) is None:
        return None
    return f"is not UTF-8: byte 0x{ord(lost[0]) - 0xDC00:02X}"


def csv_fault(error: csv.Error) -> str:
    """An error of the csv module, in a user's words."""
    words = str(error)
    if "field limit" in words:
        return "has a cell of more than 131,072 characters: a quote that opens on it may never be closed"
    if "unexpected end" in words:
        return "opens a quote that is never closed"
    if "expected after" in words:
        return 'has text behind a closing quote; inside a quoted cell, write a quote twice: ""'
    return f"is not CSV: {words}"


def header_of(
    location: Location, names: list[str], *, separator: str = ",", skips_blanks: bool = False
) -> Header:
    """The header that these names make."""
    if lost := lost_byte("".join(names)):
        return Header(line=location.line, places={}, problems=(location.problem(f"{lost}; {SAVE_AS_UTF8}"),))
    if _is_volume_id(names[0]):
        return Header(line=location.line, places={}, problems=(location.problem(_advice_on_header(names)),))
    places, problems = _places(location, names)
    if Column.VOLUME_ID not in places:
        # What else is unknown matters once there are ids: of a foreign list, all of it is.
        found = ", ".join(names)
        wrong = (
            f"no such column; rename the one that holds the volume ids to volume_id; found: {shown(found)}"
        )
        near = [each for each in problems if "did you mean volume_id?" in each.message]
        problems = [*near, location.problem(wrong, field=Column.VOLUME_ID)]
    words = [plain(name) for name in names]
    tells_status = "id" in words and words.count("status") == 1
    return Header(
        line=location.line,
        separator=separator,
        width=len(names),
        status_place=words.index("status") if tells_status else None,
        skips_blanks=skips_blanks,
        places=places,
        problems=tuple(problems),
    )


def _read_header(location: Location, text: str, separators: str) -> Header:
    skips_blanks = _BLANK_BEFORE_QUOTE.search(text) is not None
    try:
        separator, names = _split(text, separators, skips_blanks=skips_blanks)
    except csv.Error as error:
        return Header(line=location.line, places={}, problems=(location.problem(csv_fault(error)),))
    return header_of(location, names, separator=separator, skips_blanks=skips_blanks)


def _advice_on_header(names: list[str]) -> str:
    more = {1: "", 2: ",image_name"}.get(len(names), ",…")
    words = "" if len(names) == 1 else f", a name for each of its {len(names)} cells"
    return f"is already a row; begin with a line that names the columns: volume_id{more}{words}"


def _split(text: str, separators: str, *, skips_blanks: bool) -> tuple[str, list[str]]:
    """The separator that yields most known columns (most names, if none is known), and the names.

    Raises csv.Error if the line is not CSV by any of them.
    """
    candidates = []
    faults = []
    for separator in separators:
        try:
            reader = csv.reader([text], delimiter=separator, skipinitialspace=skips_blanks, strict=True)
            candidates.append((separator, next(reader)))
        except csv.Error as error:  # quoted names make no CSV by the separators that they are not parted with
            faults.append(error)
    if not candidates:
        raise faults[0]

    def worth(candidate: tuple[str, list[str]]) -> tuple[int, int]:
        names = candidate[1]
        beside = frozenset(map(plain, names))
        return sum(_is_known(name, beside) for name in names), len(names)

    separator, names = max(candidates, key=worth)
    while len(names) > 1 and not names[-1].strip():
        names.pop()
    return separator, names


def _places(location: Location, names: list[str]) -> tuple[dict[Column | PropertyColumn, int], list[Problem]]:
    places: dict[Column | PropertyColumn, int] = {}
    problems = []
    beside = frozenset(map(plain, names))
    for index, name in enumerate(names):
        try:
            column = meaning(name, beside=beside)
        except UnknownColumnError as error:
            problems.append(location.problem(str(error), field=f"column {index + 1}", value=name))
            continue
        if column in places:
            wrong = f"duplicates another: column {places[column] + 1} is {column} already"
            problems.append(location.problem(wrong, field=f"column {index + 1}", value=name))
        elif column is not None:
            places[column] = index
    return places, problems


def _is_known(name: str, beside: frozenset[str]) -> bool:
    try:
        meaning(name, beside=beside)
    except UnknownColumnError:
        return False
    return True


def _is_volume_id(text: str) -> bool:
    try:
        cells.parse_volume_id(text)
    except cells.InvalidValue:
        return False
    return True


def guarded(text: str) -> str:
    """The text as it may stand in a CSV cell."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(text: str) -> str:
    """The text again that `guarded` made a cell of."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
