"""Job lists in YAML: an array of mappings or ids, alone or under `jobs:` or `volumes:`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batchexport.dialect import Dialect
from batchexport.lists.json_list import JsonRowReader, row_of
from batchexport.lists.problem import Location, NoRowsError
from batchexport.lists.rows import Chunks
from batchexport.lists.source import Source

_ROWS_UNDER = ("jobs", "volumes")
_NOTHING = ("", "~", "null", "Null", "NULL")


class _Fault(Exception):
    """The document is not a list; has the line and the reason."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(words)
        self.line = line


class _Marked(dict[str, object]):
    """A mapping that knows its line."""

    line = 1


def read_yaml(source: Source, dialect: Dialect | None) -> Chunks:
    """Rows and problems in file order; returns the number of rows, good and bad.

    Every scalar is the text that stands there. The document is held in memory as a whole. Raises NoRowsError
    if there is no row.
    """
    try:
        rows = _rows(source.rest())
    except _Fault as error:
        yield Location(source=source.name, line=error.line).problem(str(error))
        return 0
    if not rows:
        raise NoRowsError(f"{source.name}: has no rows", hint="add an entry for each volume")
    reader = JsonRowReader(dialect)
    for line, value in rows:
        location = Location(source=source.name, line=line)
        row = row_of(value)
        if row is None:
            yield location.problem("is not a row; a row looks like - volume_id: …")
        else:
            yield from reader.read(location, row)
    return len(rows)


def _rows(document: bytes) -> list[tuple[int, object]]:
    """The rows with the lines they begin on. Raises _Fault."""
    import yaml  # loads much that other lists have no use for

    try:
        events = yaml.parse(document, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
        content = _Reader(yaml, events).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or "a character that YAML does not allow"
        raise _Fault(1 if mark is None else mark.line + 1, f"is not YAML: {why}") from error
    except RecursionError as error:
        raise _Fault(1, "is nested too deeply to be a list") from error
    if isinstance(content, dict):
        held = [key for key in _ROWS_UNDER if key in content]
        if not held:
            return [(1, content)]
        if more := [key for key in content if key not in held] + held[1:]:
            raise _Fault(1, f"{more[0]} does not belong beside {held[0]}; take it out")
        content = content[held[0]]
    if not isinstance(content, list):
        raise _Fault(1, "is YAML but not a list: begin every row with - volume_id: …")
    return [(getattr(row, "line", 1), row) for row in content]


class _Reader:
    """Makes values of YAML's events: aliases, which can make a short document endless, are refused."""

    def __init__(self, yaml: Any, events: Iterator[Any]) -> None:
        self._yaml = yaml
        self._events = events

    def document(self) -> object:
        """The one document of the stream."""
        next(self._events)  # the stream begins
        event = next(self._events)
        if isinstance(event, self._yaml.StreamEndEvent):
            return []
        content = self._value(next(self._events))
        next(self._events)  # the document ends
        if not isinstance(event := next(self._events), self._yaml.StreamEndEvent):
            raise _Fault(event.start_mark.line + 1, "begins a second document; a list is a single one")
        return content

    def _value(self, event: Any) -> object:
        if isinstance(event, self._yaml.ScalarEvent):
            return None if event.style is None and event.value in _NOTHING else str(event.value)
        if isinstance(event, self._yaml.SequenceStartEvent):
            values = []
            while not isinstance(inner := next(self._events), self._yaml.SequenceEndEvent):
                values.append(self._value(inner))
            return values
        if isinstance(event, self._yaml.MappingStartEvent):
            return self._mapping(event)
        raise _Fault(event.start_mark.line + 1, "is an anchor or an alias; write the value out")

    def _mapping(self, event: Any) -> _Marked:
        entries = _Marked()
        entries.line = event.start_mark.line + 1
        while not isinstance(key := next(self._events), self._yaml.MappingEndEvent):
            name, line = self._value(key), key.start_mark.line + 1
            if not isinstance(name, str):
                raise _Fault(line, "has a key that is not a text")
            if name in entries:
                raise _Fault(line, f"{name} occurs twice in one row")
            entries[name] = self._value(next(self._events))
        return entries
