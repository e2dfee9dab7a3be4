"""No question of a running engine reads the whole table, however long the list is."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from batchexport.model import ExportOrder, JobState
from batchexport.store.sqlite import changes, claims, images, queries, reader, resources
from batchexport.store.sqlite.connection import open_for_work
from batchexport.store.sqlite.schema import IS_UNDER_WAY, ORDER_INDEXES
from tests.store.making import make

STATEMENTS = {
    "claim waiting": (claims.CLAIM_WAITING, "job_waiting"),
    "claim ready": (claims.CLAIM_READY[ExportOrder.LIST], "job_ready"),
    "claim ready by size": (claims.CLAIM_READY[ExportOrder.SIZE], "job_by_size"),
    "claim ready by priority": (claims.CLAIM_READY[ExportOrder.PRIORITY], "job_by_priority"),
    "retry": (claims.RETRY, "job_retryable"),
    "size": (changes.SIZE, "job_volume"),
    "ambiguous": (queries.AMBIGUOUS, "job_retryable"),
    "under way": (queries.UNDER_WAY, "job_under_way"),
    "any ready": (queries.ANY_READY, "job_ready"),
    "first waiting": (queries.FIRST_WAITING, "job_waiting"),
    "images of attempts": (images.ATTEMPTS, "operation_job"),
    "names taken": (images.NOTE_NAMED, "job_image_name"),
    "rows of names": (images.CLAIM_NAMED, "job_image_name"),
    "reasons": (reader.REASONS, "job_retryable"),
    "stalled": (reader.STALLED, "job_under_way"),
    "jobs under way": (
        reader.JOBS.format(
            index="INDEXED BY job_under_way",
            chosen=f"AND state IN ('exporting') AND {IS_UNDER_WAY}",
            volume_name="NULL",
            image_status="NULL",
        ),
        "job_under_way",
    ),
    "next held": (resources.NEXT_HELD, "job_waiting"),
    "rows of servers": (resources.ROWS_OF, "resource_job_subject"),
    "release": (resources.RELEASE, "PRIMARY KEY"),
    "hold": (resources.HOLD, "PRIMARY KEY"),
    "start": (resources.START_RELEASE, "resource_job_subject"),
    "hold rows of a server": (resources.HOLD_ROWS_OF, "resource_job_subject"),
    "servers afoot": (resources.OUTSTANDING, "resource_outstanding"),
    "count of servers afoot": (resources.COUNT_OUTSTANDING, "resource_outstanding"),
}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    connection = open_for_work(make(tmp_path_factory.mktemp("plans") / "a.state", 100))
    # These make the indexes and tables that others go by.
    changes.set_sizes(connection, 1, {})
    for index in ORDER_INDEXES.values():
        connection.execute(index)
    images.note_named(connection, 1, [])
    yield connection
    connection.close()


def plan(db: sqlite3.Connection, statement: str) -> str:
    names = dict.fromkeys(re.findall(r":(\w+)", statement), 1)
    values: Any = names or (1,) * statement.count("?")
    return "\n".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", values))


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_goes_by_its_index(db: sqlite3.Connection, name: str) -> None:
    statement, index = STATEMENTS[name]
    steps = plan(db, statement)
    assert index in steps
    # All of the partial index is read for one count: it holds no more rows than are under way.
    assert not re.search(r"SCAN (job|operation)(?! USING INDEX job_under_way)", steps)


@pytest.mark.parametrize("name", ["claim ready", "any ready", "under way", "next held"])
def test_rows_come_in_order_without_being_sorted(db: sqlite3.Connection, name: str) -> None:
    assert "TEMP B-TREE" not in plan(db, STATEMENTS[name][0])


def test_every_state_that_ends_an_attempt_has_its_statement() -> None:
    under_way = {JobState.SUBMITTING, JobState.EXPORTING}
    assert {after for _, after in changes.LOG} == set(JobState) - under_way
