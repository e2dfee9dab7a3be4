"""HTML built from values. Everything that is not Markup is escaped, so no text of a cloud becomes a tag."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *content: str, **attributes: str | float | bool | None) -> Markup:
    """One element. `class_` is written class, `aria_label` aria-label; None and False leave it out."""
    words = "".join(_attribute(key, value) for key, value in attributes.items())
    return Markup(f"<{name}{words}>{joined(content)}</{name}>")


def single(name: str, /, **attributes: str | float | bool | None) -> Markup:
    """One void element of HTML, such as meta."""
    return Markup(tag(name, **attributes).removesuffix(f"</{name}>"))


def joined(parts: Iterable[str]) -> Markup:
    """These parts joined, those that are not Markup escaped."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts))


def percent(share: float) -> str:
    """A share of the width for SVG: 0.25 is 25%."""
    return f"{share * 100:.3f}".rstrip("0").rstrip(".") + "%"


def _attribute(key: str, value: str | float | bool | None) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f' {name}="{escape(text)}"'
