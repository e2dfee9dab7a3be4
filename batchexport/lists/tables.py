"""Lists as command-line clients print them for people: tables with bars, and bare ids line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from batchexport.dialect import Dialect
from batchexport.lists.columns import Column
from batchexport.lists.csv_list import Record, read_under
from batchexport.lists.csv_text import Header, header_of, is_comment
from batchexport.lists.problem import Location
from batchexport.lists.rows import Chunks
from batchexport.lists.source import EndlessLineError, Source

#: The line under the header of a table in Markdown.
_RULE = re.compile(r":?-+:?")
#: What MySQL prints under a table.
_FOOTER = re.compile(r"\d+ rows? in set\b.*")
#: What stands behind an id where further columns were printed: a status, perhaps a size and more. No name of
#: a volume can be told from those.
_MORE_COLUMNS = re.compile(
    r"(?:^|.*\s)(?:available|in-use|creating|deleting|reserved|attaching|detaching|maintenance|uploading"
    r"|downloading|retyping|extending|managing|backing-up|restoring-backup|awaiting-transfer|error(?:_\w+)?)"
    r"(?:\s+\d+(?:\s.*)?)?"
)

_SEVERAL_COLUMNS = (
    "looks like the output of `openstack … -f value` with several columns, which cannot be told apart; use "
    "-f csv or -f json, or the column of the ids alone: -f value -c ID"
)


def read_table(source: Source, dialect: Dialect | None) -> Chunks:
    """Rows and problems of a table, whose first line names the columns; as `read_csv`."""
    records = _cells_of_table(source)
    for line, record in records:
        location = Location(source=source.name, line=line)
        if isinstance(record, str):
            yield location.problem(record)
            return 0
        return (yield from read_under(header_of(location, record), source, dialect, records))
    yield Location(source=source.name, line=1).problem("is the border of a table that has no rows")
    return 0


def read_ids(source: Source, dialect: Dialect | None) -> Chunks:
    """Rows and problems of lines that hold an id, and perhaps the volume's name; as `read_csv`."""
    header = Header(line=0, width=2, places={Column.VOLUME_ID: 0, Column.VOLUME_NAME: 1}, problems=())
    lines = _ids_and_names(source)
    first = next(lines, None)
    if first is not None and isinstance(first[1], list) and len(first[1]) == 1:
        header = Header(line=0, width=1, places={Column.VOLUME_ID: 0}, problems=())
        return (yield from read_under(header, source, dialect, _bare(first, lines)))
    return (yield from read_under(header, source, dialect, _named(first, lines)))


def _cells_of_table(source: Source) -> Iterator[Record]:
    line = 0
    try:
        for line, text in enumerate(map(str.strip, source.lines()), start=1):
            if not text or text.startswith("+") or is_comment(text) or _FOOTER.fullmatch(text):
                continue
            if not text.startswith("|"):
                yield line, "is not a line of the table that begins above it"
                continue
            cells = [cell.strip() for cell in text.strip("|").split("|")] if text != "|" else [""]
            if not all(map(_RULE.fullmatch, cells)):
                yield line, cells
    except EndlessLineError as error:
        yield line + 1, str(error)


def _ids_and_names(source: Source) -> Iterator[Record]:
    """An id, and what stands behind it where there is a blank; ends with a text where that is no name."""
    line = 0
    try:
        for line, text in enumerate(source.lines(), start=1):
            text = text.rstrip("\r\n")
            if not text.strip() or is_comment(text):
                continue
            volume_id, *rest = text.lstrip().split(None, 1)
            if rest and (_MORE_COLUMNS.fullmatch(rest[0].strip()) or "\t" in rest[0].strip()):
                yield line, _SEVERAL_COLUMNS
                return
            yield line, [volume_id, *rest] if rest or not text[-1].isspace() else [volume_id, ""]
    except EndlessLineError as error:
        yield line + 1, str(error)


def _bare(first: Record, others: Iterator[Record]) -> Iterator[Record]:
    """Records of an id alone."""
    yield first
    for line, record in others:
        yield line, record if isinstance(record, str) else [" ".join(record).strip()]


def _named(first: Record | None, others: Iterator[Record]) -> Iterator[Record]:
    """Records of an id and a name, which may be empty."""
    if first is not None:
        yield first
    for line, record in others:
        yield line, record if isinstance(record, str) else [record[0], "".join(record[1:]).strip()]
