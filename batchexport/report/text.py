"""How numbers, times and texts are written: the same in every report and message."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import PurePath
from unicodedata import category, east_asian_width

#: Control characters but tabs and line ends, and marks that turn the direction of writing.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
#: Width of a volume's name in tables; the column is left out if no volume has one.
NAME_WIDTH = 24


def number(value: float) -> str:
    """A whole number with thousands separators: 12,345."""
    return f"{value:,.0f}"


def count_of(value: int, noun: str) -> str:
    """A counted noun: 1 row, 2,000 rows."""
    return f"{number(value)} {noun}" if value == 1 else f"{number(value)} {noun}s"


def iso_utc(at: float | None) -> str:
    """Seconds since the epoch as 2026-11-02T21:04:59Z; empty for None."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(seconds: float) -> str:
    """A span in its two largest units: 45 s, 3 min 20 s, 2 h 5 min, 1 d 4 h."""
    left = max(0, round(seconds))
    parts: list[tuple[int, str]] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        amount, left = divmod(left, size)
        if amount or parts:
            parts.append((amount, unit))
    said = [f"{amount} {unit}" for amount, unit in parts[:2] if amount]
    return " ".join(said) or "0 s"


def one_line(text: str | None, width: int) -> str:
    """The text on one line, cut to `width` columns with an ellipsis; empty for None.

    Control characters are removed: names and reasons come from outside.
    """
    return truncate(" ".join((text or "").split()), width)


def truncate(text: str, width: int) -> str:
    """The text, cut to `width` columns, without control characters; blanks stay as they are."""
    if text.isascii() and text.isprintable():
        return text if len(text) <= width else text[: width - 1] + "…"
    text = "".join(character for character in text if character.isprintable())
    if display_width(text) <= width:
        return text
    left = width - 1
    for place, character in enumerate(text):
        left -= display_width(character)
        if left < 0:
            return text[:place] + "…"
    return text


def truncate_middle(text: str | None, width: int) -> str:
    """Like `one_line`, but cut in the middle: names of one list often differ at the end only."""
    flat = one_line(text, 100_000)
    if display_width(flat) <= width:
        return flat
    tail, left = "", (width - 1) // 2
    for character in reversed(flat):
        left -= display_width(character)
        if left < 0:
            break
        tail = character + tail
    return truncate(flat, width - display_width(tail)) + tail


def wrapped(text: str | None, width: int, *, max_lines: int = 6) -> list[str]:
    """The text in at most `max_lines` lines of at most `width` columns; the rest is cut off."""
    lines, line = list[str](), ""
    for word in one_line(text, 10_000).split():
        longer = f"{line} {word}" if line else word
        if display_width(longer) <= width:
            line = longer
            continue
        lines += [line] if line else []
        line = truncate(word, width)
    lines += [line] if line else []
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], truncate(" ".join(lines[max_lines - 1 :]), width)]
    return lines


def escape_controls(text: str) -> str:
    """The text with control characters and marks of writing direction escaped; line ends stay."""
    return text if text.isprintable() else _STEERING.sub(lambda found: repr(found.group())[1:-1], text)


def printable(text: str | None) -> str:
    """The text on one line, without control characters; empty for None."""
    return one_line(text, 100_000)


def display_width(text: str) -> int:
    """How many columns of a terminal the text takes: two for a Chinese character, none for an accent."""
    if text.isascii():
        return len(text)
    return sum(0 if category(each) == "Mn" else 1 + (east_asian_width(each) in "WF") for each in text)


def padded(text: str, width: int) -> str:
    """The text, padded with blanks to `width` columns."""
    return text + " " * (width - display_width(text))


def title_of(list_name: str) -> str:
    """The title of a run of this list: its file name without folders."""
    return "list from stdin" if list_name == "-" else PurePath(list_name).name


def name_cell(name: str | None, named: bool) -> str:
    """The cell of a volume's name with its gap; empty if the table has no names."""
    return f"{padded(truncate_middle(name, NAME_WIDTH), NAME_WIDTH)}  " if named else ""
