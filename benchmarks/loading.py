"""Three ways to get a list into SQLite: `python loading.py plain|floor|ours LIST FOLDER`.

`plain` is what a script would do: csv and executemany into a table of two columns. `floor` fills the tables
of a state file in the same way, checks nothing, and makes their indexes. `ours` is what `run` does.
Prints the seconds of CPU that it took, without the start of Python.
"""

from __future__ import annotations

import csv
import sqlite3
import sys
import time
from pathlib import Path

from batchexport import intake
from batchexport.config import Settings
from batchexport.store import schema


def plain(source: Path, path: Path) -> None:
    _fill(
        source,
        path,
        ["CREATE TABLE job (job_id INTEGER PRIMARY KEY, volume_id TEXT, image_name TEXT)"],
        "",
        [],
    )


def floor(source: Path, path: Path) -> None:
    indexes = [*schema.UNIQUE_INDEXES.values(), *schema.INDEXES]
    tables = [*schema.TABLES, "INSERT INTO target (target_id) VALUES (1)"]
    _fill(source, path, tables, ", target_id, line", indexes)


def _fill(source: Path, path: Path, tables: list[str], columns: str, indexes: list[str]) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=MEMORY")
    db.execute("PRAGMA synchronous=OFF")
    for statement in tables:
        db.execute(statement)
    db.execute("BEGIN")
    constants = ", 1, 1" if columns else ""
    with source.open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        db.executemany(f"INSERT INTO job (volume_id, image_name{columns}) VALUES (?, ?{constants})", rows)
    for statement in indexes:
        db.execute(statement)
    db.execute("COMMIT")
    db.close()


def ours(source: Path, path: Path) -> None:
    intake.prepare(source, path, Settings())


if __name__ == "__main__":
    load = {"plain": plain, "floor": floor, "ours": ours}[sys.argv[1]]
    began_s = time.process_time()
    load(Path(sys.argv[2]), Path(sys.argv[3]) / "a.state")
    print(time.process_time() - began_s)
