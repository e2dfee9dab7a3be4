"""One table of a job file, read key by key; what is wrong with it is gathered."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from batchexport.config import values
from batchexport.errors import ConfigError

Value = TypeVar("Value")


class Table:
    """One table of the file, read key by key. What is wrong is added to `problems`, and read as not said."""

    def __init__(
        self, name: str, content: object, problems: list[str], allowed: Mapping[str, Sequence[str]]
    ) -> None:
        self._name, self._problems, self._allowed = name, problems, allowed
        self._known: list[str] = []
        self._content: Mapping[str, object] = content if isinstance(content, dict) else {}
        if not isinstance(content, dict):
            problems.append(f"[{name}]: is {values.kind(content)}; it must be a table")

    def read(self, key: str, reader: Callable[[object], Value]) -> Value | None:
        """What `reader` makes of the key's value, or None where it is not there or not good."""
        self._known.append(key)
        if key not in self._content:
            return None
        try:
            return reader(self._content[key])
        except (ValueError, ConfigError) as error:
            self.problem(key, str(error))
            return None

    def require(self, key: str, reader: Callable[[object], Value]) -> Value | None:
        """As `read`, for a key that must be there."""
        if key not in self._content:
            self.problem(key, "missing")
        return self.read(key, reader)

    def says(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._content

    def problem(self, key: str, words: str) -> None:
        """Add what is wrong with a key."""
        self._problems.append(f"[{self._name}] {key}: {words}")

    def text(self, key: str, *, required: bool = False) -> str | None:
        words = self._allowed.get(key)
        reader = values.text if words is None else lambda value: values.one_of(values.text(value), words)
        return self.require(key, reader) if required else self.read(key, reader)

    def flag(self, key: str) -> bool | None:
        return self.read(key, values.flag)

    def number(self, key: str) -> float | None:
        return self.read(key, values.number)

    def whole(self, key: str, *, least: int) -> int | None:
        return self.read(key, lambda value: values.at_least(values.whole(value), least))

    def duration(self, key: str, *, above: float | None = None) -> float | None:
        return self.read(key, lambda value: values.above(values.duration(value), above))

    def refuse(self, keys: Iterable[str], words: str) -> None:
        """Adds a problem in these words for each of these keys that is there and that nobody read."""
        for key in keys:
            if key in self._content and key not in self._known:
                self._known.append(key)
                self.problem(key, words)

    def refuse_the_rest(self) -> None:
        """Adds a problem for each key that nobody read."""
        for key in self._content:
            if key not in self._known:
                self.problem(key, f"unknown key{did_you_mean(key, self._known)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """What is said of an unknown word where one of the known ones is like it; else empty."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
