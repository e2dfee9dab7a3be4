"""What kind of list a file holds, told by its first bytes."""

from __future__ import annotations

import re
from enum import StrEnum


class Format(StrEnum):
    """The formats of a job list."""

    CSV = "csv"
    JSON = "json"
    JSON_LINES = "jsonl"


class ForeignFileError(ValueError):
    """The file is of a kind that holds no job list as it is; the text names the kind and the way out."""


_SAVE_AS = 'save it as "CSV UTF-8" and try again'
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe", f'is encoded as UTF-16 (Excel\'s "Unicode Text"); {_SAVE_AS}'),
    (b"\xfe\xff", f"is encoded as UTF-16 (big-endian); {_SAVE_AS}"),
    (b"PK\x03\x04", f"is an Excel or LibreOffice workbook, or another zip archive; {_SAVE_AS}"),
    (b"\xd0\xcf\x11\xe0", f"is an old Excel workbook; {_SAVE_AS}"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it, or pipe it in: gunzip -c FILE | … -"),
)
_UTF16_WITHOUT_MARK = re.compile(rb"(?:[\x09-\x7e]\x00){4}|(?:\x00[\x09-\x7e]){4}")
_JOBS_KEY = re.compile(rb'"jobs"\s*:')


def detect(head: bytes) -> Format:
    """The format of a list that begins with these bytes. Raises ForeignFileError.

    A list that begins with `{` is JSON Lines if its first line is an object by itself, and one JSON document
    if that object is not closed on the line or holds `"jobs"`.
    """
    for magic, kind in _FOREIGN:
        if head.startswith(magic):
            raise ForeignFileError(kind)
    if _UTF16_WITHOUT_MARK.match(head):
        raise ForeignFileError(f"is encoded as UTF-16 without a byte order mark; {_SAVE_AS}")
    start = head.lstrip()
    if start.startswith(b"["):
        return Format.JSON
    if not start.startswith(b"{"):
        return Format.CSV
    first_line = start.split(b"\n", 1)[0].rstrip()
    if first_line.endswith(b"}") and not _JOBS_KEY.search(first_line):
        return Format.JSON_LINES
    return Format.JSON
