"""The tables of docs/weather.md, made from the code. They are written by

``python -m tests.sandbox.weather_reference``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from batchexport.sandbox.weather import FAULTS
from batchexport.sandbox.weather.presets import SIDES
from batchexport.sandbox.weather.settings import Services

PAGE = Path(__file__).parents[2] / "docs" / "weather.md"
BEGIN, END = "<!-- made by tests/sandbox/weather_reference.py -->\n", "<!-- end -->\n"


def reference() -> str:
    """The tables as they have to stand in the page."""
    return "\n".join([*_faults(), "", *_sides(), ""])


def page_with(text: str) -> str:
    """The page with these tables."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + text + END + after


def _faults() -> Iterator[str]:
    yield "| fault | what happens | keys and defaults |"
    yield "|---|---|---|"
    for name, fault in FAULTS.items():
        words = (fault.__doc__ or "").splitlines()[0]
        yield f"| `{name}` | {words} | {', '.join(_keys(fault))} |"


def _sides() -> Iterator[str]:
    yield "| further name | what it sets |"
    yield "|---|---|"
    for name, weather in SIDES.items():
        for fault in (each for each in FAULTS if getattr(weather, each) is not None):
            value = getattr(weather, fault)
            plain = FAULTS[fault]()
            keys = [key for key in value.__struct_fields__ if getattr(value, key) != getattr(plain, key)]
            told = ", ".join(f"{key} = {_toml(getattr(value, key))}" for key in keys)
            yield f"| `{name}` | `{fault}` with {told} |"


def _keys(fault: type) -> Iterator[str]:
    hints, plain = get_type_hints(fault), fault()
    for key in plain.__struct_fields__:
        yield f"`{key} = {_toml(getattr(plain, key))}`{_allowed(hints[key])}"


def _allowed(hint: Any) -> str:
    if hint == Services:  # the page says which there are
        return ""
    if get_origin(hint) is tuple:
        hint = get_args(hint)[0]
    if get_origin(hint) is not Literal:
        return ""
    return f" ({' or '.join(map(_toml, get_args(hint)))})"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return (
        f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    )


if __name__ == "__main__":
    PAGE.write_text(page_with(reference()), encoding="utf-8")
