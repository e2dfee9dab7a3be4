"""Whether a file holds our tables and nothing that acts by itself: it may come from anybody."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from batchexport.store import schema
from batchexport.store.faults import damaged

#: The longest text that is read or written at once. What we write is far shorter: 500 changes, or the volume
#: ids of all rows that wait for one server.
MOST_BYTES = 16_777_216

_SCHEMA = "SELECT type, name, coalesce(sql, '') FROM sqlite_master"
_TABLES = frozenset({"run", "target", "job", "attempt", "tally", "server", "job_server"})


def distrust(db: sqlite3.Connection) -> None:
    """Let nothing in the file call a function with effects, nor hand over texts without end."""
    db.execute("PRAGMA trusted_schema=OFF")
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)


def check_own(db: sqlite3.Connection, path: Path) -> None:
    """Raise StateCorruptError where a table of ours is missing, or where there is what we never made.

    Tables and indexes that are not known may be those of a newer version: they do nothing unasked.
    """
    found = db.execute(_SCHEMA).fetchall()
    if strangers := list(_strangers(found)):
        raise damaged(path, f"it holds {', '.join(strangers[:3])}, which no batchexport made")
    missing = _TABLES - {name for kind, name, _ in found if kind == "table"}
    if missing:
        raise damaged(path, f"no such table: {', '.join(sorted(missing))}")


def _strangers(found: list[tuple[str, str, str]]) -> Iterator[str]:
    ours = {_folded(statement) for statement in schema.INDEXES if "CREATE TRIGGER" in statement}
    for kind, name, sql in found:
        virtual = kind == "table" and _folded(sql).startswith("create virtual")
        if kind not in ("table", "index", "trigger") or virtual:
            yield f"the {'virtual table' if virtual else kind} {name!r}"
        elif kind == "trigger" and _folded(sql) not in ours:
            yield f"the trigger {name!r}"


def _folded(sql: str) -> str:
    return " ".join(sql.split()).lower()
