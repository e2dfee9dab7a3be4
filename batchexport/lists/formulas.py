"""Cells that a spreadsheet would take for a formula: an apostrophe makes them text, and reading undoes it.

What stands in a list or a report are other people's words; a spreadsheet that runs them may send data away.
"""

from __future__ import annotations

import re

#: What begins a formula, full-width signs included, behind apostrophes that belong to the text itself.
_FORMULA = re.compile("'*[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")


def guarded(text: str) -> str:
    """The text as it may stand in a CSV cell."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(text: str) -> str:
    """The text again that `guarded` made a cell of."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
