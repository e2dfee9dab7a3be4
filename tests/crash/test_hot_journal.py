"""Killed while SQLite leaves its mode for writing, a run leaves a journal that every command meets."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from batchexport.store import StateFile, StateReader
from tests.crash.invariants import violations
from tests.crash.site import Site, Trap

JOURNAL = "-journal"


def leave_hot_journal(state_path: Path) -> None:
    """Make the file and its journal what a kill in the middle of a change of its pages leaves."""
    working = state_path.with_name("working.state")
    state_path.rename(working)
    with closing(sqlite3.connect(working, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("PRAGMA cache_size=1")  # pages go to the file before the end of the transaction
        db.execute("BEGIN")
        db.execute("UPDATE job SET line = line + 1")
        shutil.copy(working, state_path)
        shutil.copy(f"{working}{JOURNAL}", f"{state_path}{JOURNAL}")
        db.execute("ROLLBACK")
    working.unlink()


@pytest.fixture
def unfinished(calm_site: Callable[[int], Site]) -> Site:
    """A list of which nothing was sent, whose state file has a hot journal."""
    site = calm_site(1000)
    assert site.run(trap=Trap(point="after_rename")).killed
    for left in site.folder.glob(".*.new"):
        left.unlink()
    leave_hot_journal(site.state_path)
    return site


def test_a_reader_sees_what_was_there_before(unfinished: Site) -> None:
    with StateReader(unfinished.state_path) as reader:
        assert sum(tally.jobs for tally in reader.overview().tallies) == 1000
        assert [row.line for row in reader.jobs()] == list(range(2, 1002))


async def test_a_process_that_works_sees_what_was_there_before(unfinished: Site) -> None:
    async with StateFile.open(unfinished.state_path) as state:
        assert sum(((await state.remaining()).jobs).values()) == 1000


def test_the_same_command_goes_on(unfinished: Site) -> None:
    ended = unfinished.run()
    assert ended.exit_code == 0, ended.talk
    assert violations(unfinished.state_path, unfinished.volume_ids, unfinished.cloud) == []
