"""Job lists in an Excel workbook: the first sheet, whose first row names the columns.

Needs `python-calamine`, the extra `xlsx`. A workbook is a zip archive: a small one can hold gigabytes, or two
cells that span billions. Both are refused before the library sees them.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable
from typing import Any

from batchexport.dialect import Dialect
from batchexport.lists.csv_list import Record, read_under
from batchexport.lists.csv_text import header_of
from batchexport.lists.problem import Location, NoRowsError
from batchexport.lists.rows import Chunks
from batchexport.lists.source import Source

#: A list of a million rows of ids and names is half as large.
MAX_UNPACKED_BYTES = 256 * 2**20
#: A workbook has some twenty parts.
MAX_PARTS = 1000
#: The library keeps every cell between the first and the last one in use.
MAX_CELLS = 20_000_000

_CELL = re.compile(rb"\br\s*=\s*[\"']([A-Z]{1,3})([0-9]{1,7})[\"']")
_NO_LIBRARY = (
    "is an Excel workbook: install batchexport[xlsx] to read it (pip install 'batchexport[xlsx]'), or save it"
    ' as "CSV UTF-8" and try again'
)
_OTHER_ARCHIVE = 'is a zip archive, and no Excel workbook (.xlsx); save the list as "CSV UTF-8"'
_DAMAGED = "is an Excel workbook that cannot be read; open it, save it again, and retry"


class UnreadableWorkbookError(Exception):
    """The file is no workbook that is read here; the text continues a sentence that begins with the file."""


def read_workbook(source: Source, dialect: Dialect | None) -> Chunks:
    """Rows and problems of the first sheet, as `read_csv`. The workbook is held in memory as a whole."""
    try:
        records = _records(_rows(source.rest()))
    except UnreadableWorkbookError as error:
        yield Location(source=source.name, line=1).problem(f"the file {error}")
        return 0
    if not records:
        raise NoRowsError(
            f"{source.name}: the first sheet is empty", hint="name the columns in its first row"
        )
    (line, names), *rows = records
    header = header_of(Location(source=source.name, line=line), names)
    padded: Iterable[Record] = ((at, [*cells, *[""] * (header.width - len(cells))]) for at, cells in rows)
    return (yield from read_under(header, source, dialect, padded))


def _rows(content: bytes) -> list[list[Any]]:
    try:
        import python_calamine  # an extra, and only workbooks need it
    except ImportError as error:
        raise UnreadableWorkbookError(_NO_LIBRARY) from error
    safe = _checked(content)
    try:
        workbook = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(safe))
        rows: list[list[Any]] = workbook.get_sheet_by_index(0).to_python(skip_empty_area=False)
    except Exception as error:  # the library has a class for each format, and some of Rust
        raise UnreadableWorkbookError(_DAMAGED) from error
    return rows


def _checked(content: bytes) -> bytes:
    """The archive again, packed here from what was unpacked here, so that no size in it is a lie."""
    safe, left = io.BytesIO(), MAX_UNPACKED_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(safe, "w") as checked:
            parts = archive.infolist()
            if not any(part.filename == "xl/workbook.xml" for part in parts):
                raise UnreadableWorkbookError(_OTHER_ARCHIVE)
            if len(parts) > MAX_PARTS:
                raise UnreadableWorkbookError(_DAMAGED)
            for part in parts:
                with archive.open(part) as packed:
                    text = packed.read(left + 1)
                if (left := left - len(text)) < 0:
                    raise UnreadableWorkbookError(f"unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
                _refuse_wide(text)
                checked.writestr(part.filename, text)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise UnreadableWorkbookError(_DAMAGED) from error  # RuntimeError: it is encrypted
    return safe.getvalue()


def _refuse_wide(sheet: bytes) -> None:
    """Refuses a sheet whose cells span more than a list does."""
    rows = columns = 0
    for letters, digits in _CELL.findall(sheet):
        number = 0
        for letter in letters:
            number = number * 26 + letter - 64
        rows, columns = max(rows, int(digits)), max(columns, number)
    if rows * columns > MAX_CELLS:
        raise UnreadableWorkbookError(f"spans {rows:,} rows and {columns:,} columns; is it a list?")


def _records(rows: list[list[Any]]) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, as texts without empty ends, with their numbers."""
    records = []
    for line, row in enumerate(rows, start=1):
        cells = [_text(value) for value in row]
        while cells and not cells[-1].strip():
            cells.pop()
        if cells:
            records.append((line, cells))
    return records


def _text(value: object) -> str:
    """A cell as a CSV list would hold it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
