"""What kind of list a file holds, told by its first bytes."""

from __future__ import annotations

import re
from enum import StrEnum


class Format(StrEnum):
    """The formats of a job list."""

    CSV = "csv"
    IDS = "ids"  #: a volume's id on each line, and perhaps its name behind it
    TABLE = "table"  #: as people see it: cells between bars
    JSON = "json"
    JSON_LINES = "jsonl"
    YAML = "yaml"


class ForeignFileError(ValueError):
    """The file is of a kind that holds no job list as it is; the text names the kind and the way out."""


_SAVE_AS = 'save it as "CSV UTF-8" and try again'
_UNPACK = "unpack it, or pipe it in: {} FILE | batchexport … -"
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe\0\0", f"is encoded as UTF-32; {_SAVE_AS}, or say --encoding utf-32"),
    (b"\0\0\xfe\xff", f"is encoded as UTF-32 (big-endian); {_SAVE_AS}, or say --encoding utf-32"),
    (b"PK\x03\x04", f"is an Excel or LibreOffice workbook, or another zip archive; {_SAVE_AS}"),
    (b"\xd0\xcf\x11\xe0", f"is an old Excel workbook; {_SAVE_AS}"),
    (b"\x1f\x8b", f"is compressed with gzip; {_UNPACK.format('gunzip -c')}"),
    (b"BZh", f"is compressed with bzip2; {_UNPACK.format('bunzip2 -c')}"),
    (b"\xfd7zXZ\0", f"is compressed with xz; {_UNPACK.format('xz -dc')}"),
    (b"\x28\xb5\x2f\xfd", f"is compressed with zstd; {_UNPACK.format('zstd -dc')}"),
    (b"%PDF-", f"is a PDF; export the list itself, and {_SAVE_AS}"),
    (
        b"SQLite format 3\0",
        "is a state file, not a list: `batchexport resume FILE` carries on with it, `batchexport report FILE`"
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
#: The first line that says something, of texts that are no list.
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


def detect(head: bytes) -> Format:
    """The format of a list that begins with these bytes. Raises ForeignFileError.

    Blank lines and comments before the first line that says something do not count. A list that begins with
    `{` is JSON Lines if its first line is an object by itself, and one JSON document if that object is not
    closed on the line or holds several rows.
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            raise ForeignFileError(kind)
    if utf16 := _UTF16_WITHOUT_MARK.match(head):
        name = "utf-16-le" if utf16[1] else "utf-16-be"
        raise ForeignFileError(
            f"is encoded as UTF-16 without a byte order mark; {_SAVE_AS}, or say --encoding {name}"
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
