"""The points of the protocol at which a process can be killed, laid around the product's own functions."""

from __future__ import annotations

import asyncio.selector_events
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from aiohttp import TCPConnector

from batchexport.cloud.block_storage import BlockStorage
from batchexport.cloud.copies import CopyService
from batchexport.engine import decide
from batchexport.engine.settle import Settler
from batchexport.model import JobRows
from batchexport.store.sqlite.builder import SqliteBuilder as Builder
from batchexport.store.sqlite.connection import WorkConnection
from batchexport.store.sqlite.work import SqliteWork as Work
from batchexport.store.sqlite.writer import Writer

P = ParamSpec("P")
T = TypeVar("T")
Reach = Callable[[str], None]

#: Held while the state file is written to: a process frozen in the middle of that would lock it for all.
COMMIT = threading.RLock()

#: Kinds of transaction, by the state that a job goes to in it, and those that change an owner.
KINDS = ("claim", "accept", "end", "put_back", "take", "release")
KIND_OF_STATE = {"submitting": "claim", "exporting": "accept", "pending": "put_back"}
#: They tell of each change in a transaction, whatever statements make it.
TELLERS = tuple(
    f"CREATE TEMP TRIGGER tell_{column} AFTER UPDATE OF {column} ON main.{table}"
    f" BEGIN SELECT tell_{column}(NEW.{column}); END"
    for table, column in (("job", "state"), ("target", "owner"))
)
NAMES = (
    "during_load",  # rows are in the file that is being built, and no more than that
    "before_rename",  # the built file is whole, and not yet in its place
    "after_rename",
    "before_intent",  # jobs are about to be claimed
    "after_intent",  # claimed on disk, nothing sent
    "at_connect",  # the fence was passed, the connection is being made
    "at_send",  # the first byte of an export is about to be handed to the socket
    "after_send",  # all of its bytes were
    "after_202",  # its answer was read and is not written down
    "at_settle_look",
    "after_settle_decision",  # what became of a lost answer is decided and not written down
    *(f"{side}_commit:{kind}" for kind in KINDS for side in ("before", "after")),
    "at_close",  # all is written, the log is about to be folded in
    "while_closing",  # it is, and the file is about to leave the mode for writing
)
#: Points that only a run reaches which copies volumes in use.
COPY_NAMES = (
    "before_snapshot",  # its intent is on disk
    "after_snapshot",  # its answer was read and is not written down
    "before_volume",
    "after_volume",
    "before_image_id",
    "after_image_id",
    "before_deletion",
    "after_deletion",
)


def lay(reach: Reach) -> None:
    """Have `reach` called with the name of each point that this process comes to."""
    _around_building(reach)
    _around_claims(reach)
    _around_sending(reach)
    _around_copies(reach)
    _around_settling(reach)
    _around_transactions(reach)


def _before(reach: Reach, point: str, function: Callable[P, T]) -> Callable[P, T]:
    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        reach(point)
        return function(*args, **kwargs)

    return wrapped


def _after(reach: Reach, point: str, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Only where the answer is not empty: a claim of nothing is no claim."""

    @wraps(function)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        answer = await function(*args, **kwargs)
        if answer:
            reach(point)
        return answer

    return wrapped


def _around_building(reach: Reach) -> None:
    link = os.link

    def linked(*args: Any, **kwargs: Any) -> None:
        reach("before_rename")
        link(*args, **kwargs)
        reach("after_rename")

    os.link = linked
    add_all = Builder.add_all

    def added(builder: Builder, rows: JobRows, image_names: Sequence[str]) -> None:
        add_all(builder, rows, image_names)
        reach("during_load")

    Builder.add_all = added  # type: ignore[method-assign,assignment]


def _around_claims(reach: Reach) -> None:
    claim = _before(reach, "before_intent", Work.claim)
    Work.claim = _after(reach, "after_intent", claim)  # type: ignore[method-assign,assignment]


def _around_sending(reach: Reach) -> None:
    upload = _after(reach, "after_202", BlockStorage.upload_volume_to_image)
    BlockStorage.upload_volume_to_image = upload  # type: ignore[method-assign,assignment]
    connect = TCPConnector.connect

    async def connected(self: TCPConnector, request: Any, *args: Any, **kwargs: Any) -> Any:
        if request.method == "POST":
            reach("at_connect")
        return await connect(self, request, *args, **kwargs)

    TCPConnector.connect = connected  # type: ignore[method-assign,assignment]
    transport = asyncio.selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    write = transport.write

    def written(self: asyncio.Transport, data: bytes) -> None:
        is_export = _is_export(bytes(data))
        if is_export:
            reach("at_send")
        write(self, data)
        if is_export:
            reach("after_send")

    transport.write = written


def _around_copies(reach: Reach) -> None:
    for call, name in (
        ("create_snapshot", "snapshot"),
        ("create_volume", "volume"),
        ("set_image_metadata", "image_id"),
        ("delete_snapshot", "deletion"),
        ("delete_volume", "deletion"),
    ):
        setattr(CopyService, call, _on_both_sides(reach, name, getattr(CopyService, call)))


def _on_both_sides(reach: Reach, name: str, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    @wraps(function)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        reach(f"before_{name}")
        answer = await function(*args, **kwargs)
        reach(f"after_{name}")
        return answer

    return wrapped


def _is_export(data: bytes) -> bool:
    """Whether this is an export, head and body: the client hands small requests over in one piece."""
    return data.startswith(b"POST ") and b"/action HTTP" in data and b"os-volume_upload_image" in data


def _around_settling(reach: Reach) -> None:
    Settler.poll = _before(reach, "at_settle_look", Settler.poll)  # type: ignore[method-assign]
    settle = decide.settle

    @wraps(settle)
    def settled(*args: Any, **kwargs: Any) -> Any:
        decision = settle(*args, **kwargs)
        if not isinstance(decision, decide.Wait):
            reach("after_settle_decision")
        return decision

    decide.settle = settled


def _around_transactions(reach: Reach) -> None:
    commit = Writer._commit

    def committed(*args: Any) -> Any:
        with COMMIT:
            return commit(*args)

    Writer._commit = committed  # type: ignore[method-assign,assignment]
    _watch_connections(reach)


def _watch_connections(reach: Reach) -> None:
    real = sqlite3.connect

    class Watched(WorkConnection):
        """Tells of each commit what kinds of change are in it."""

        _kinds: set[str] | None = None  # None = not told of yet

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and self._kinds is not None:
                return self._committed(sorted(self._kinds))
            if sql == "BEGIN IMMEDIATE":
                self._listen()
            elif sql.endswith("wal_checkpoint(TRUNCATE)"):
                reach("at_close")
            elif sql.endswith("journal_mode=DELETE"):
                reach("while_closing")
            return super().execute(sql, *args)

        def _listen(self) -> None:
            if self._kinds is None:
                self.create_function(
                    "tell_state", 1, lambda state: self._tell(KIND_OF_STATE.get(state, "end"))
                )
                self.create_function(
                    "tell_owner", 1, lambda owner: self._tell("take" if owner else "release")
                )
                for statement in TELLERS:
                    super().execute(statement)
            self._kinds = set()

        def _tell(self, kind: str) -> None:
            assert self._kinds is not None
            self._kinds.add(kind)

        def _committed(self, kinds: Sequence[str]) -> sqlite3.Cursor:
            for kind in kinds:
                reach(f"before_commit:{kind}")
            cursor = super().execute("COMMIT")
            for kind in kinds:
                reach(f"after_commit:{kind}")
            return cursor

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        watched: sqlite3.Connection = real(*args, **{**kwargs, "factory": Watched})
        return watched

    sqlite3.connect = connect  # type: ignore[assignment]
