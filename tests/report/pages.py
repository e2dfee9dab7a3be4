"""What a page holds, by Python's own HTML parser: enough to ask for headings, cells and addresses."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Elements in their order as (name, attributes), and the text inside of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[tuple[str, int]] = []
        self.feed(text)
        self.close()
        assert self._open == [], "elements that are not closed"

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        self.texts.setdefault(name, []).append("")
        if name not in _VOID:
            self._open.append((name, len(self.texts[name]) - 1))

    def handle_endtag(self, name: str) -> None:
        assert self._open.pop()[0] == name, f"</{name}> closes something else"

    def handle_data(self, data: str) -> None:
        for name, place in self._open:
            self.texts[name][place] += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]
