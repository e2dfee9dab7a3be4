"""Things that can be counted: requests by page, statements and commits of a state file, objects alive."""

import gc
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from batchexport.model import Volume
from tests.engine.fake_cloud import FakeCloud

PAGE = 100


class PagedCloud(FakeCloud):
    """A cloud whose lists come in pages, each of which is counted as the request that it is."""

    def __init__(self, *, others: int = 0, **behaviour: Any) -> None:
        super().__init__(**behaviour)
        for number in range(others):
            self.accept_elsewhere(f"ffffffff-0000-4000-8000-{number:012d}", name=f"other-{number}")

    @property
    def requests(self) -> int:
        return sum(self.calls.values())

    async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Volume]]:
        async for whole in super().volumes(status=status):
            for page in self._pages("volumes", whole):
                yield page

    async def images(self, **filters: Any) -> AsyncIterator[Any]:
        async for whole in super().images(**filters):
            for page in self._pages("images", whole):
                yield page

    def _pages(self, call: str, whole: list[Any]) -> list[list[Any]]:
        pages = [whole[begin : begin + PAGE] for begin in range(0, len(whole), PAGE)]
        self.calls[call] += max(0, len(pages) - 1)
        return pages


def alive(kind: type) -> int:
    """How many objects of this class there are."""
    return sum(type(each) is kind for each in gc.get_objects())


class Statements:
    """What connections were asked for, call by call, and every statement once with its values."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.traced: dict[str, str] = {}  #: by the call

    def commits(self) -> int:
        return self.calls.count("COMMIT")

    def changes(self) -> list[str]:
        return [
            call
            for call in self.calls
            if call.lstrip().startswith(("UPDATE job", "INSERT INTO operation", "UPDATE operation"))
        ]


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[Statements]:
    """The statements of every connection that is opened meanwhile."""
    seen = Statements()
    real = sqlite3.connect

    def counting(kind: Any) -> Any:
        class Counting(kind):  # type: ignore[misc]
            def execute(self, sql: str, *values: Any) -> Any:
                seen.calls.append(sql)
                return super().execute(sql, *values)

            def executemany(self, sql: str, rows: Any) -> Any:
                seen.calls.append(sql)
                return super().executemany(sql, rows)

        return Counting

    def connect(*args: Any, factory: Any = sqlite3.Connection, **kwargs: Any) -> Any:
        db = real(*args, **kwargs, factory=counting(factory))
        # Triggers repeat the statement that set them off.
        db.set_trace_callback(lambda text: seen.traced.setdefault(seen.calls[-1], text))
        return db

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        yield seen
