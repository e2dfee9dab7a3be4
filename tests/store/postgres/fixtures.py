"""Databases for tests: one server for the session, a database for each test that asks for one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from batchexport.store.postgres.reference import DatabasePath
from tests.store.postgres.server import REQUIRED, Server, why_missing

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A running server; where none can be had the test is skipped, or fails where one is required."""
    if (reason := why_missing()) is not None:
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    server = Server()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def shared_database(postgres: Server) -> DatabasePath:
    """A database that tests share: each has runs of its own in it."""
    return postgres.new_database("shared")


@pytest.fixture
def database(postgres: Server) -> DatabasePath:
    """A database of the test's own, prepared for runs."""
    return postgres.new_database(f"test_{next(_numbers)}")


@pytest.fixture
def run_path(shared_database: DatabasePath) -> DatabasePath:
    """Where a run may be made, in a database with others."""
    return shared_database / f"run-{next(_numbers)}"
