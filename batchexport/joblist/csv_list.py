"""Job lists in CSV, row by row."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import TypeVar

from batchexport.dialect import Dialect
from batchexport.joblist.columns import COMMON_COLUMNS, Column
from batchexport.joblist.csv_header import COMMENT, Header, csv_fault, find_header
from batchexport.joblist.problem import NoRowsError, Problem
from batchexport.joblist.rows import Place, RowChecker, Texts
from batchexport.joblist.source import EndlessLineError, Source
from batchexport.model import JobRow, JobRows

Cells = list[str]
#: A record with the line it starts on: its cells, or what is wrong where it cannot be split.
Record = tuple[int, Cells | str]
Value = TypeVar("Value", str, None)

#: Rows that are looked at together; if anything is odd about one of them, each is looked at by itself.
_AT_ONCE = 500

#: What stands in the text for a byte that is not UTF-8.
_LOST_BYTE = re.compile("[\udc80-\udcff]")


def read_csv(source: Source, dialect: Dialect | None) -> Generator[JobRow | JobRows | Problem, None, int]:
    """Rows and problems in file order; returns the number of data rows, good and bad.

    Rows of nothing but blanks are no data, nor are lines that begin with `#` where volume_id is the first
    column. Without a volume_id column reading stops at the header. Raises NoRowsError if there is no row.
    """
    lines = source.lines()
    header = find_header(source, lines)
    yield from header.problems
    if Column.VOLUME_ID not in header.places:
        return 0
    rows = 0
    reader = _RowReader(source, header, dialect)
    records = _records(lines, header)
    while batch := list(islice(records, _AT_ONCE)):
        if (good := reader.read_together(batch)) is not None:
            rows += len(good)
            yield good
            continue
        for line, record in batch:
            found = reader.read(line, record)
            rows += bool(found)
            yield from found
    if not rows and not header.problems:
        raise NoRowsError(f"{source.name}: has no rows", hint="add a line for each volume under the header")
    return rows


def _records(lines: Iterator[str], header: Header) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=header.separator, strict=True)
    first = header.line + 1
    line = first
    while True:
        try:
            for cells in reader:
                yield line, cells
                line = first + reader.line_num
            return
        except csv.Error as error:
            yield line, csv_fault(error)
            line = first + reader.line_num
        except EndlessLineError as error:
            yield line, str(error)
            return


class _RowReader:
    """Makes rows of the records under one header."""

    def __init__(self, source: Source, header: Header, dialect: Dialect | None) -> None:
        common = [column for column in COMMON_COLUMNS if column in header.places]
        self._source = source
        self._width = header.width
        self._checker = RowChecker(dialect=dialect, common=common)
        self._id_place = header.places[Column.VOLUME_ID]
        self._volume_id = itemgetter(self._id_place)
        self._image_name = _cell(header.places.get(Column.IMAGE_NAME), default="")
        self._volume_name = _cell(header.places.get(Column.VOLUME_NAME), default=None)
        self._common = _cells([header.places[column] for column in common])

    def read(self, line: int, record: Cells | str) -> Sequence[JobRow | Problem]:
        """The job, or its problems; nothing for a record that is no data."""
        if isinstance(record, list) and len(record) == self._width and not self._suspicious(record):
            job = self._checker.job(
                line,
                self._volume_id(record),
                self._image_name(record),
                self._common(record),
                self._volume_name(record),
            )
            if job is not None:
                return (job,)
        return self._read_closely(Place(source=self._source.name, line=line), record)

    def read_together(self, batch: Sequence[Record]) -> JobRows | None:
        """The rows of these records, column by column; None where any of them needs a closer look."""
        first_line = batch[0][0]
        records = [record for _, record in batch if isinstance(record, list)]
        if (
            len(records) < len(batch)
            or batch[-1][0] - first_line != len(batch) - 1  # one of them goes over several lines
            or set(map(len, records)) != {self._width}
            or self._source.damaged
            # A comment in front of the ids is no id, and shows by that.
            or (self._id_place and any(map(self._suspicious, records)))
        ):
            return None
        common = set(map(self._common, records))
        if len(common) > 1:
            return None
        volume_ids, image_names = map(self._volume_id, records), map(self._image_name, records)
        return self._checker.rows(first_line, list(volume_ids), list(image_names), common.pop())

    def _suspicious(self, cells: Cells) -> bool:
        return self._source.damaged or cells[0].startswith(COMMENT)

    def _read_closely(self, place: Place, record: Cells | str) -> Sequence[JobRow | Problem]:
        if isinstance(record, str):
            return (place.problem(record),)
        if not any(map(str.strip, record)) or (self._id_place == 0 and record[0].startswith(COMMENT)):
            return ()
        fault = self._record_fault(record)
        if fault is not None:
            return (place.problem(fault),)
        return self._checker.read(
            place,
            Texts(
                volume_id=self._volume_id(record),
                image_name=self._image_name(record),
                volume_name=self._volume_name(record),
                common=self._common(record),
            ),
        )

    def _record_fault(self, cells: Cells) -> str | None:
        """What is wrong with the row as a whole; None = its cells may be looked at."""
        for number, cell in enumerate(cells, start=1):
            if lost := _LOST_BYTE.search(cell):
                byte = ord(lost[0]) - 0xDC00
                return f"is not UTF-8: byte 0x{byte:02X} in cell {number}; save the list as UTF-8"
        if cells[0].startswith(COMMENT):
            return "begins with #, which marks a comment only where volume_id is the first column"
        surplus = any(map(str.strip, cells[self._width :]))
        if len(cells) < self._width or surplus:
            return (
                f"has {len(cells)} cells where the header has {self._width}; "
                "a value that holds a separator goes in quotes"
            )
        return None


def _cell(place: int | None, *, default: Value) -> Callable[[Cells], str | Value]:
    """A function that takes one cell of a row, or what stands for it where the list has no such column."""
    return itemgetter(place) if place is not None else lambda cells: default


def _cells(places: Sequence[int]) -> Callable[[Cells], tuple[str, ...]]:
    """A function that takes these cells of a row."""
    if len(places) > 1:
        return itemgetter(*places)
    if not places:
        return lambda cells: ()
    (place,) = places
    return lambda cells: (cells[place],)
