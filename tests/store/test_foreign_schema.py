"""A state file comes from anybody: what acts by itself in it is refused before it can."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from batchexport.errors import StateCorruptError, StateError
from batchexport.store import StateFile, StateReader, Unreadable, look_into
from tests.store.making import alter

ENDLESS = "(WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c)"
Opener = Callable[[Path], object]


@pytest.fixture(params=[pytest.param(StateFile.open, id="work"), pytest.param(StateReader, id="reading")])
def opener(request: pytest.FixtureRequest) -> Opener:
    chosen: Opener = request.param
    return chosen


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        (
            "tally",
            f"ALTER TABLE tally RENAME TO real; CREATE VIEW tally AS SELECT {ENDLESS} AS jobs FROM real",
        ),
        ("spare", f"CREATE VIEW spare AS SELECT {ENDLESS}"),
        ("evil", "CREATE TRIGGER evil AFTER UPDATE ON target BEGIN DELETE FROM job; END"),
        (
            "job_counted",
            "DROP TRIGGER job_counted;"
            " CREATE TRIGGER job_counted AFTER UPDATE ON job BEGIN DELETE FROM operation; END",
        ),
        ("full", "CREATE VIRTUAL TABLE full USING fts5(words)"),
    ],
)
def test_what_acts_by_itself_is_refused_by_its_name(
    opener: Opener, made: Path, name: str, statement: str
) -> None:
    with closing(sqlite3.connect(made)) as db:
        db.executescript(statement)
    with pytest.raises(StateCorruptError, match=f"'{name}', which no batchexport made"):
        opener(made)


def test_a_table_that_is_missing_is_told(opener: Opener, made: Path) -> None:
    alter(made, "DROP TABLE resource")
    with pytest.raises(StateCorruptError, match="no such table: resource"):
        opener(made)


def test_tables_and_indexes_of_a_newer_version_are_no_fault(opener: Opener, made: Path) -> None:
    with closing(sqlite3.connect(made)) as db:
        db.executescript("CREATE TABLE later (x); CREATE INDEX by_size ON job (size_gib)")
    opener(made)


def test_a_text_without_end_is_damage(made: Path) -> None:
    with closing(sqlite3.connect(made)) as db:
        db.execute("UPDATE run SET list_name = CAST(zeroblob(50000000) AS TEXT)")
        db.commit()
    with pytest.raises(StateError, match="too big"):
        StateReader(made)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_what_is_no_file_is_named_and_not_waited_for(
    opener: Opener, path: Path, make: Callable[[Path], None]
) -> None:
    make(path)
    with pytest.raises(StateCorruptError, match=r"no state file: it is a (pipe|device|folder)"):
        opener(path)


def test_looking_into_a_file_tells_what_it_holds_or_that_it_cannot_be_read(made: Path) -> None:
    assert look_into(made, lambda reader: reader.run.rows) == 3
    alter(made, "PRAGMA user_version = 99")
    found = look_into(made, lambda reader: reader.run.rows)
    assert isinstance(found, Unreadable)
    assert found.ref == made
    assert "newer batchexport" in found.words
    made.write_bytes(b"damaged")
    assert isinstance(look_into(made, lambda reader: reader.run.rows), Unreadable)
    made.unlink()
    assert isinstance(look_into(made, lambda reader: reader.run.rows), Unreadable)
