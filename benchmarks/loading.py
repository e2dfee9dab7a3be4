"""Two ways to get a list into SQLite: `python loading.py plain|ours LIST FOLDER`.

`plain` is what a script would do: csv and executemany into a table of two columns, and nothing checked.
`ours` is what `run` does. Prints the seconds of CPU that it took, without the start of Python.
"""

from __future__ import annotations

import csv
import sqlite3
import sys
import time
from pathlib import Path

from batchexport import intake
from batchexport.config import Settings


def plain(source: Path, path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=MEMORY")
    db.execute("PRAGMA synchronous=OFF")
    db.execute("CREATE TABLE job (job_id INTEGER PRIMARY KEY, volume_id TEXT, image_name TEXT)")
    db.execute("BEGIN")
    with source.open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        db.executemany("INSERT INTO job (volume_id, image_name) VALUES (?, ?)", rows)
    db.execute("COMMIT")
    db.close()


def ours(source: Path, path: Path) -> None:
    intake.prepare(source, path, Settings())


if __name__ == "__main__":
    load = {"plain": plain, "ours": ours}[sys.argv[1]]
    began_s = time.process_time()
    load(Path(sys.argv[2]), Path(sys.argv[3]) / "a.state")
    print(time.process_time() - began_s)
