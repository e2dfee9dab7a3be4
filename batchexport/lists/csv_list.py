"""Job lists in CSV: most of them many rows at a time, the odd ones row by row."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import TypeVar

from batchexport.dialect import Dialect
from batchexport.lists.columns import (
    COMMON_COLUMNS,
    Column,
    PropertyColumn,
    is_status_of_others,
    status_fault,
)
from batchexport.lists.csv_text import (
    SAVE_AS_UTF8,
    Header,
    csv_fault,
    find_header,
    is_comment,
    lost_byte,
    unguarded,
)
from batchexport.lists.problem import Location, NoRowsError, Problem
from batchexport.lists.rows import Chunks, RawRow, RowChecker
from batchexport.lists.source import EndlessLineError, Source
from batchexport.model import JobRow, JobRows

Cells = list[str]
#: A record with the line it starts on: its cells, or what is wrong where it cannot be split.
Record = tuple[int, Cells | str]
Value = TypeVar("Value", str, None)

#: Rows that are looked at together; if anything is odd about one of them, each is looked at by itself.
_AT_ONCE = 500
#: A longer piece may hold a cell that the csv module refuses as too long: it is left to that module.
_LONGEST_PIECE = 131_072
_QUOTE = '"'


def read_csv(source: Source, dialect: Dialect | None) -> Chunks:
    """Rows and problems in file order; returns the number of data rows, good and bad.

    Rows of nothing but blanks are no data, nor are lines that begin with `#` where volume_id is the first
    column. Without a volume_id column reading stops at the header. Raises NoRowsError if there is no row.
    """
    header = find_header(source, source.lines())
    return (yield from read_under(header, source, dialect))


def read_under(
    header: Header, source: Source, dialect: Dialect | None, records: Iterable[Record] | None = None
) -> Chunks:
    """The rows under a header, and what is wrong with either; as `read_csv`. None as `records` = what the
    source has left, as CSV.
    """
    yield from header.problems
    if Column.VOLUME_ID not in header.places:
        return 0
    reader = _RowReader(source, header, dialect)
    rows = yield from reader.read_all() if records is None else reader.read_records(records)
    if not rows and not header.problems:
        raise NoRowsError(f"{source.name}: has no rows", hint="add a line for each volume under the header")
    return rows


def columns_of(text: str, separator: str, width: int) -> list[Sequence[str]] | None:
    """The columns of lines without quotes, a cell for every line; None where a line has not `width` cells."""
    text = text.removesuffix("\n")
    # A line end moves to the start of the next cell, where it marks the start of a line.
    cells = text.replace("\n", f"{separator}\n").split(separator)
    first = "".join(cells[::width]).split("\n")
    lines = text.count("\n") + 1
    if len(first) != lines or len(cells) != lines * width:
        return None
    return [first, *(cells[place::width] for place in range(1, width))]


class _RowReader:
    """Makes rows of the records under one header."""

    def __init__(self, source: Source, header: Header, dialect: Dialect | None) -> None:
        common: list[Column | PropertyColumn] = [each for each in COMMON_COLUMNS if each in header.places]
        common += [each for each in header.places if isinstance(each, PropertyColumn)]
        self._source = source
        self._header = header
        self._checker = RowChecker(dialect=dialect, common=common)
        self._id_place = header.places[Column.VOLUME_ID]
        self._name_place = header.places.get(Column.IMAGE_NAME)
        self._volume_name_place = header.places.get(Column.VOLUME_NAME)
        self._common_places = [header.places[column] for column in common]
        self._common = _cells(self._common_places)
        self._image_name = _name(self._name_place, default="")
        self._volume_name = _name(self._volume_name_place, default=None)

    def read_all(self) -> Chunks:
        """Everything behind the header; returns the number of data rows."""
        rows = 0
        line = self._header.line + 1
        texts = self._source.texts()
        try:
            for text in texts:
                if _QUOTE in text or self._header.skips_blanks:  # a quoted cell may go on in the next piece
                    return rows + (yield from self._read_lines(_lines(chain((text,), texts)), line))
                if (good := self._read_piece(line, text)) is not None:
                    rows, line = rows + len(good), line + len(good)
                    yield good
                else:
                    lines = list(_lines((text,)))
                    rows += yield from self._read_lines(lines, line)
                    line += len(lines)
        except EndlessLineError as error:
            yield Location(source=self._source.name, line=line).problem(str(error))
            rows += 1
        return rows

    def _read_piece(self, line: int, text: str) -> JobRows | None:
        """The rows of lines without quotes; None where any of them needs a closer look."""
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        if self._source.damaged or "\r" in text or len(text) > _LONGEST_PIECE:
            return None
        columns = columns_of(text, self._header.separator, self._header.width)
        return None if columns is None else self._of_columns(line, columns)

    def _read_lines(self, lines: Iterable[str], line: int) -> Chunks:
        """What `lines` hold, the first of which is the line of that number."""
        return self.read_records(_records(lines, line, self._header))

    def read_records(self, records: Iterable[Record]) -> Chunks:
        """The rows of these records; returns their number."""
        rows, records = 0, iter(records)
        while batch := list(islice(records, _AT_ONCE)):
            if (good := self._read_together(batch)) is not None:
                rows += len(good)
                yield good
                continue
            for line, record in batch:
                found = self._read(line, record)
                rows += bool(found)
                yield from found
        return rows

    def _read_together(self, batch: Sequence[Record]) -> JobRows | None:
        """The rows of these records, column by column; None where any of them needs a closer look."""
        first_line = batch[0][0]
        records = [record for _, record in batch if isinstance(record, list)]
        if (
            len(records) < len(batch)
            or batch[-1][0] - first_line != len(batch) - 1  # one of them goes over several lines
            or set(map(len, records)) != {self._header.width}
            or self._source.damaged
        ):
            return None
        return self._of_columns(first_line, list(zip(*records, strict=True)))

    def _of_columns(self, first_line: int, columns: Sequence[Sequence[str]]) -> JobRows | None:
        # A comment in front of the ids is no id, and shows by that.
        if self._id_place and any(map(is_comment, columns[0])):
            return None
        status_place = self._header.status_place
        if status_place is not None and any(map(is_status_of_others, set(columns[status_place]))):
            return None
        common = [columns[place] for place in self._common_places]
        if any(len(set(column)) > 1 for column in common):
            return None
        return self._checker.rows(
            first_line,
            columns[self._id_place],
            None if self._name_place is None else _names(columns[self._name_place]),
            tuple(column[0] for column in common),
            None if self._volume_name_place is None else _names(columns[self._volume_name_place]),
        )

    def _read(self, line: int, record: Cells | str) -> Sequence[JobRow | Problem]:
        """The job, or its problems; nothing for a record that is no data."""
        if isinstance(record, list) and len(record) == self._header.width and not self._suspicious(record):
            job = self._checker.job(
                line,
                record[self._id_place],
                self._image_name(record),
                self._common(record),
                self._volume_name(record),
            )
            if job is not None:
                return (job,)
        return self._read_closely(Location(source=self._source.name, line=line), record)

    def _suspicious(self, cells: Cells) -> bool:
        status_place = self._header.status_place
        is_of_others = status_place is not None and is_status_of_others(cells[status_place])
        return is_of_others or self._source.damaged or is_comment(cells[0])

    def _read_closely(self, location: Location, record: Cells | str) -> Sequence[JobRow | Problem]:
        if isinstance(record, str):
            return (location.problem(record),)
        if not any(map(str.strip, record)) or (self._id_place == 0 and is_comment(record[0])):
            return ()
        fault = self._record_fault(record)
        if fault is not None:
            return (location.problem(fault),)
        return self._checker.read(
            location,
            RawRow(
                volume_id=record[self._id_place],
                image_name=self._image_name(record),
                volume_name=self._volume_name(record),
                common=self._common(record),
            ),
        )

    def _record_fault(self, cells: Cells) -> str | None:
        """What is wrong with the row as a whole; None = its cells may be looked at."""
        for number, cell in enumerate(cells, start=1):
            if lost := lost_byte(cell):
                return f"{lost} in cell {number}; {SAVE_AS_UTF8}"
        if is_comment(cells[0]):
            return "begins with #, which marks a comment only where volume_id is the first column"
        surplus = any(map(str.strip, cells[self._header.width :]))
        if len(cells) < self._header.width or surplus:
            way_out = "a value that holds a separator goes in quotes"
            if any(cell.endswith("\\") for cell in cells):
                way_out += "; if `openstack` wrote the list, leave its --quote none out"
            return f"has {len(cells)} cells where the header has {self._header.width}; {way_out}"
        status_place = self._header.status_place
        if status_place is not None and is_status_of_others(cells[status_place]):
            return status_fault(cells[status_place])
        return None


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """The lines of these texts, cut at line ends of whatever kind."""
    return chain.from_iterable(io.StringIO(text, newline="") for text in texts)


def _records(lines: Iterable[str], first: int, header: Header) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=header.separator, skipinitialspace=header.skips_blanks, strict=True)
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


def _name(place: int | None, *, default: Value) -> Callable[[Cells], str | Value]:
    """A function that takes a name of a row, or what stands for it where the list has no such column."""
    return (lambda cells: unguarded(cells[place])) if place is not None else lambda cells: default


def _names(cells: Sequence[str]) -> Sequence[str]:
    """The names in these cells; hardly any has an apostrophe."""
    return [unguarded(cell) for cell in cells] if "'" in "".join(cells) else cells


def _cells(places: Sequence[int]) -> Callable[[Cells], tuple[str, ...]]:
    """A function that takes these cells of a row."""
    if len(places) > 1:
        return itemgetter(*places)
    if not places:
        return lambda cells: ()
    (place,) = places
    return lambda cells: (cells[place],)
