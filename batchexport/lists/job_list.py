"""A job list as a stream of rows and problems; its format is detected by its first bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from batchexport.dialect import Dialect
from batchexport.lists.csv_list import read_csv
from batchexport.lists.json_list import read_json, read_json_lines
from batchexport.lists.problem import Location, NoRowsError, Problem
from batchexport.lists.rows import Chunks
from batchexport.lists.source import Source, name_of, opened
from batchexport.lists.tables import read_ids, read_table
from batchexport.lists.yaml_list import read_yaml
from batchexport.model import JobRow, JobRows


class Format(StrEnum):
    """The formats of a job list."""

    CSV = "csv"
    IDS = "ids"  #: a volume's id on each line, and perhaps its name behind it
    TABLE = "table"  #: as people see it: cells between bars
    JSON = "json"
    JSON_LINES = "jsonl"
    YAML = "yaml"
    WORKBOOK = "xlsx"


class ForeignFileError(ValueError):
    """The file is of a kind that holds no job list as it is; the text names the kind and the way out."""


_SAVE_AS = 'save it as "CSV UTF-8" and try again'
_UNPACK = "unpack it, or pipe it in: {} FILE | batchexport … -"
_ZIP = b"PK\x03\x04"
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe\0\0", f"is encoded as UTF-32; {_SAVE_AS}, or pass --encoding utf-32"),
    (b"\0\0\xfe\xff", f"is encoded as UTF-32 (big-endian); {_SAVE_AS}, or pass --encoding utf-32"),
    (b"\xd0\xcf\x11\xe0", f"is an old Excel workbook; {_SAVE_AS}"),
    (b"\x1f\x8b", f"is compressed with gzip; {_UNPACK.format('gunzip -c')}"),
    (b"BZh", f"is compressed with bzip2; {_UNPACK.format('bunzip2 -c')}"),
    (b"\xfd7zXZ\0", f"is compressed with xz; {_UNPACK.format('xz -dc')}"),
    (b"\x28\xb5\x2f\xfd", f"is compressed with zstd; {_UNPACK.format('zstd -dc')}"),
    (b"%PDF-", f"is a PDF; export the list itself, and {_SAVE_AS}"),
    (
        b"SQLite format 3\0",
        "is a state file, not a list: `batchexport resume FILE` continues it, `batchexport report FILE`"
        " shows it",
    ),
)
_UTF16_WITHOUT_MARK = re.compile(rb"(?:([\x09-\x7e]\x00){4})|(?:\x00[\x09-\x7e]){4}")
_TERRAFORM_VOLUME = 'select(.type? | strings | test("(evs|blockstorage)_volume"))'
_TERRAFORM = (
    (
        re.compile(rb'^\s*\{\s*"version"\s*:\s*\d+\s*,\s*"terraform_version"'),
        f"is a Terraform state; make a list of it: jq -r '.resources[] | {_TERRAFORM_VOLUME}"
        " | .instances[].attributes.id' FILE | batchexport … -",
    ),
    (
        re.compile(rb'^\s*\{\s*"format_version"\s*:'),
        f"is what `terraform show -json` prints; make a list of it: jq -r '.. | objects | {_TERRAFORM_VOLUME}"
        " | .values.id' FILE | batchexport … -",
    ),
)
#: The first line of content of text files that are not lists.
_FOREIGN_TEXT: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"<"), f"is HTML or XML; {_SAVE_AS}"),
    (re.compile(rb"\[[a-z_.]+\]\s*$"), "is a job file in TOML; the name of a job file ends in .toml"),
    (
        re.compile(rb"\w+=(\"|')"),
        "is what `openstack … -f shell` prints; use -f csv or -f json instead",
    ),
)
_SEVERAL_ROWS_KEY = re.compile(rb'"(?:jobs|volumes)"\s*:')
_ID = re.compile(
    rb"[{'\"]?(?:urn:uuid:)?[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}[}'\"]?(?:\s|$)",
    re.IGNORECASE,
)
_TABLE = re.compile(rb"\+[-=+]+\+\s*$|\|.*\|\s*$")
_YAML = re.compile(rb"---(?:\s|$)|- |-$|(?:jobs|volumes):\s*$")


def _read_workbook(source: Source, dialect: Dialect | None) -> Chunks:
    from batchexport.lists.workbook import read_workbook  # zip archives are nothing that other lists need

    return read_workbook(source, dialect)


_READERS: dict[Format, Callable[[Source, Dialect | None], Chunks]] = {
    Format.CSV: read_csv,
    Format.IDS: read_ids,
    Format.TABLE: read_table,
    Format.JSON: read_json,
    Format.JSON_LINES: read_json_lines,
    Format.YAML: read_yaml,
    Format.WORKBOOK: _read_workbook,
}


class JobList:
    """The rows of a job list, each checked as it is read; iterate it once.

    Yields a JobRow for a good row and a Problem for everything wrong with a bad one, in file order. CSV and
    JSON Lines are read as a stream: memory does not grow with the list. Raises JobListError for what cannot
    be read at all or has no rows. Whether two rows ask for the same volume or name is not looked at here.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        dialect: Dialect | None = None,
        stdin: BinaryIO | None = None,
        may_be_empty: bool = False,
        encoding: str | None = None,
    ) -> None:
        """`source` `-` is standard input, or `stdin` if given. Rows are checked by the rules of `dialect`.

        Without one, a disk format or a name passes if either family of clouds takes it. A list that a person
        wrote has rows; one that was made of what fits `may_be_empty`. `encoding` is a codec of Python; None =
        UTF-8, or UTF-16 if it has a byte order mark.
        """
        self.name = name_of(source)  #: for messages
        self.sha256 = ""  #: of the bytes as they are in the file, in hex; set when the last row was read
        self.rows = 0  #: data rows, good and bad; set when the last row was read
        self._source = source
        self._dialect = dialect
        self._stdin = stdin
        self._may_be_empty = may_be_empty
        self._encoding = encoding

    def __iter__(self) -> Iterator[JobRow | Problem]:
        for item in self.chunks():
            if isinstance(item, JobRows):
                yield from item
            else:
                yield item

    def chunks(self) -> Iterator[JobRow | JobRows | Problem]:
        """The same, with rows that could be checked together in one piece. Instead of iterating, and once."""
        with opened(self._source, stdin=self._stdin, encoding=self._encoding) as source:
            try:
                self.rows = yield from self._read(source)
            except NoRowsError:
                if not self._may_be_empty:
                    raise
            self.sha256 = source.sha256()

    def _read(self, source: Source) -> Chunks:
        try:
            reader = _READERS[detect(source.head)]
        except ForeignFileError as error:
            yield Location(source=self.name, line=1).problem(f"the file {error}")
            return 0
        return (yield from reader(source, self._dialect))


def detect(head: bytes) -> Format:
    """The format of a list that begins with these bytes. Raises ForeignFileError.

    Leading blank lines and comments are skipped. A list that begins with
    `{` is JSON Lines if its first line is an object by itself, and one JSON document if that object is not
    closed on the line or holds several rows.
    """
    if head.startswith(_ZIP):
        return Format.WORKBOOK
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            raise ForeignFileError(kind)
    if utf16 := _UTF16_WITHOUT_MARK.match(head):
        name = "utf-16-le" if utf16[1] else "utf-16-be"
        raise ForeignFileError(
            f"is encoded as UTF-16 without a byte order mark; {_SAVE_AS}, or pass --encoding {name}"
        )
    line = _first_line(head)
    if line.startswith(b"{"):
        return _json_format(head, line)
    for pattern, kind in _FOREIGN_TEXT:
        if pattern.match(line):
            raise ForeignFileError(kind)
    if line.startswith(b"["):
        return Format.JSON
    for pattern, form in ((_TABLE, Format.TABLE), (_YAML, Format.YAML), (_ID, Format.IDS)):
        if pattern.match(line):
            return form
    return Format.CSV


def _json_format(head: bytes, line: bytes) -> Format:
    for pattern, kind in _TERRAFORM:
        if pattern.match(head):
            raise ForeignFileError(kind)
    closed = line.endswith(b"}") and not _SEVERAL_ROWS_KEY.search(line)
    return Format.JSON_LINES if closed else Format.JSON


def _first_line(head: bytes) -> bytes:
    """The first line that is neither blank nor a comment, without its end and the blanks around it."""
    for line in head.splitlines():
        if (text := line.strip()) and not text.startswith(b"#"):
            return text
    return b""
