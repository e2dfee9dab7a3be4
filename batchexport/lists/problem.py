"""Problems of a job list, and their text."""

from __future__ import annotations

import msgspec

from batchexport.errors import JobListError


class NoRowsError(JobListError):
    """The list can be read, and has no rows."""


#: A value longer than this is cut in a message: two of them still fit a line of a terminal.
_SHOWN_CHARACTERS = 60


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong in a job list. `str()` gives the sentence, without the list's name."""

    source: str  #: the list's name, as in `JobList.name`
    line: int  #: as in `JobRow.line`
    field: str | None = None  #: None = the line as a whole
    value: str | None = None  #: as it was written, uncut; None = there is none to show
    message: str  #: what is wrong and what is allowed; it continues the sentence that `value` begins
    counted: str = "line"  #: what `line` counts: lines, or the elements of a JSON array

    def __str__(self) -> str:
        place = f"{self.counted} {self.line}"
        if self.field is not None:
            place += f", {self.field}"
        if self.value is None:
            return f"{place}: {self.message}"
        return f"{place}: {shown(self.value)} {self.message}"


def printable(text: str) -> str:
    """The text on one line, with what a terminal would not show, or act on, escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def shown(value: str) -> str:
    """The value in quotes on one line of about 60 characters, what a terminal would not show escaped."""
    text = printable(value[: _SHOWN_CHARACTERS + 1])
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 1] + "…"
    return f'"{text}"'


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """Where in which list a row stands."""

    source: str
    line: int
    counted: str = "line"

    def problem(self, message: str, *, field: str | None = None, value: str | None = None) -> Problem:
        """A problem at this place."""
        return Problem(
            source=self.source,
            line=self.line,
            counted=self.counted,
            field=field,
            value=value,
            message=message,
        )
