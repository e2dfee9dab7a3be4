"""Lists of records as a table, CSV, JSON, YAML or bare values, with chosen columns, in a chosen order."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

import msgspec

from batchexport.errors import ConfigError
from batchexport.lists.csv_text import guarded
from batchexport.report.text import display_width, padded, printable, truncate_middle

#: A column of a table is not made narrower than this.
_MIN_COLUMN = 8
_GAP = "  "


class ListFormat(StrEnum):
    """Formats of a list, named as the `openstack` client names them."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"
    VALUE = "value"  #: the values alone, a line for each record


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """Records and their columns. A record may lack columns."""

    columns: Sequence[str]
    records: Iterable[Mapping[str, object]]


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which columns are shown, and in which order the records come."""

    columns: tuple[str, ...] = ()  #: empty = all
    sort_by: tuple[str, ...] = ()  #: the first one counts most; empty = as they come
    descending: bool = False

    def __bool__(self) -> bool:
        """Whether anything was chosen."""
        return bool(self.columns or self.sort_by)


def listing_lines(
    listing: Listing, form: ListFormat, selection: Selection, *, width: int | None = None
) -> Iterator[str]:
    """The list, line by line. A table is at most `width` columns wide, if that can be; None = unlimited.

    Raises ConfigError for a column that the list does not have.
    """
    columns = [_named(each, listing.columns) for each in selection.columns] or list(listing.columns)
    records = listing.records
    for name in reversed([_named(each, listing.columns) for each in selection.sort_by]):
        records = sorted(records, key=lambda record: _rank(record.get(name)), reverse=selection.descending)
    match form:
        case ListFormat.JSON:
            return _json(columns, records)
        case ListFormat.YAML:
            return yaml_lines([_chosen(columns, record) for record in records])
        case ListFormat.CSV:
            return _csv(columns, records)
        case ListFormat.VALUE:
            return (" ".join(_text(record.get(name)) for name in columns) for record in records)
    return _table(columns, [[_text(record.get(name)) for name in columns] for record in records], width)


def yaml_lines(content: object) -> Iterator[str]:
    """The content as YAML."""
    import yaml

    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=10_000)
    yield from str(text).rstrip("\n").split("\n")


def folded(text: str, width: int | None) -> str:
    """The text with lines of more than `width` columns continued below, indented; None = as it is."""
    if width is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _folded_line(line, width))


def _folded_line(line: str, width: int) -> Iterator[str]:
    indent = ""
    while display_width(line) > width:
        head = _head(line, width)
        yield head.rstrip()
        indent = "    "
        line = indent + line[len(head) :].lstrip()
        if display_width(indent) >= width:
            break
    yield line


def _head(line: str, width: int) -> str:
    """As much of the line as fits, up to a blank where there is one behind its indent."""
    end = columns = 0
    for character in line:
        columns += display_width(character)
        if columns > width:
            break
        end += 1
    blank = line.rfind(" ", 0, end + 1)
    return line[:blank] if blank > 0 and line[:blank].strip() else line[: max(end, 1)]


def _named(said: str, columns: Sequence[str]) -> str:
    name = said.strip().lower().replace(" ", "_").replace("-", "_")
    if name not in columns:
        raise ConfigError(f"there is no column {said!r}", hint=f"columns: {', '.join(columns)}")
    return name


def _rank(value: object) -> tuple[int, float, str]:
    """Numbers before texts, each by size; what is missing comes last."""
    if value is None or value == "":
        return (2, 0.0, "")
    if isinstance(value, int | float):
        return (0, float(value), "")
    return (1, 0.0, _text(value).casefold())


def _chosen(columns: Iterable[str], record: Mapping[str, object]) -> dict[str, object]:
    return {name: record.get(name) for name in columns}


def _text(value: object) -> str:
    """The value on one line; empty for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(_text(each) for each in value if each is not None)
    return printable(str(value))


def _json(columns: Sequence[str], records: Iterable[Mapping[str, object]]) -> Iterator[str]:
    before = "["
    for record in records:
        yield before
        before = f"  {json.dumps(_chosen(columns, record), ensure_ascii=False)},"
    yield from ["[]"] if before == "[" else [before.removesuffix(","), "]"]


def _csv(columns: Sequence[str], records: Iterable[Mapping[str, object]]) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        yield text.getvalue().removesuffix("\n")
        text.seek(0)
        text.truncate()
        values = (record.get(name) for name in columns)
        writer.writerow(
            [
                value
                if isinstance(value, int | float) and not isinstance(value, bool)
                else guarded(_text(value))
                for value in values
            ]
        )
    yield text.getvalue().removesuffix("\n")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    heads = [name.upper().replace("_", " ") for name in columns]
    widths = [max(map(display_width, cells)) for cells in zip(heads, *rows, strict=True)]
    if width is not None:
        _narrow(widths, width)
    for cells in (heads, *rows):
        fitted = (padded(truncate_middle(cell, wide), wide) for cell, wide in zip(cells, widths, strict=True))
        yield _GAP.join(fitted).rstrip()


def _narrow(widths: list[int], width: int) -> None:
    """Take columns from the widest until all fit, but leave some to each."""
    while sum(widths) + len(_GAP) * (len(widths) - 1) > width and max(widths) > _MIN_COLUMN:
        widths[widths.index(max(widths))] -= 1
