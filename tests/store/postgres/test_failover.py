"""Runs of the program while its database crashes, or a standby that was behind takes its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchexport.errors import StateError
from batchexport.store import stores
from batchexport.store.postgres.reference import DatabasePath, database_path
from tests.store.postgres.line import Line
from tests.store.postgres.server import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROWS = 200
PACE = ("--requests-per-second", "40", "--poll-interval", "0.5")


class Worker:
    """The program at work on a list, its state in a database."""

    def __init__(self, folder: Path, database: DatabasePath) -> None:
        self._folder, self._database = folder, database
        ids = "".join(f"{uuid.UUID(int=number + 1)}\n" for number in range(ROWS))
        (folder / "list.csv").write_text(f"volume_id\n{ids}")
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        """Begin, or go on."""
        words = ("run", "list.csv", "--os-cloud", "sandbox", "--state", str(self._database), *PACE)
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("OS_", "BATCHEXPORT_"))
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "batchexport", *words],
            cwd=self._folder,
            env=environment | {"PYTHONPATH": str(Path.cwd())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self.process

    def end(self) -> tuple[int, str]:
        """Wait for its end: the exit code, and what it said."""
        said, _ = self.process.communicate(timeout=300)
        return self.process.returncode, said

    def exports(self) -> Counter[str]:
        """How many exports of each volume the cloud accepted, by its own record."""
        lines = (self._folder / "list.sandbox").read_text().splitlines()
        events = [json.loads(line) for line in lines if line.endswith("}")]
        return Counter(event["volume_id"] for event in events if event.get("event") == "export")


def pending(run: DatabasePath) -> int:
    """Rows that the run has not sent; as many as there are where it cannot be read."""
    try:
        with stores.read(run) as reader:
            return sum(each.jobs for each in reader.overview().tallies if each.state == "pending")
    except StateError:
        return ROWS


def until_at_most(rows: int, run: DatabasePath) -> None:
    deadline = time.monotonic() + 120
    while pending(run) > rows:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_crashes_of_the_database_and_of_the_worker_send_nothing_twice(
    postgres: Server, tmp_path: Path
) -> None:
    server = Server()
    try:
        database = server.new_database("exports")
        worker = Worker(tmp_path, database)
        for left in (ROWS - 20, ROWS - 60):
            until_at_most(left, database / "list")
            server.crash()
            server.start()
        until_at_most(ROWS - 90, database / "list")
        worker.process.kill()
        worker.end()
        worker.start()
        code, said = worker.end()
    finally:
        server.stop()
    assert (code, f"{ROWS} rows = {ROWS} succeeded" in said) == (0, True), said
    assert set(worker.exports().values()) == {1}
    assert len(worker.exports()) == ROWS


@pytest.fixture
def pair(postgres: Server) -> Iterator[tuple[Server, Server, Line]]:
    """A server, its asynchronous standby, and a line that leads to one of them."""
    first = Server()
    try:
        second = Server(follows=first)
        try:
            with Line(first.port) as line:
                yield first, second, line
        finally:
            second.stop()
    finally:
        first.stop()


@pytest.mark.parametrize("dies", [False, True], ids=["worker lives", "worker dies, too"])
def test_a_failover_to_a_standby_that_was_behind_sends_nothing_twice(
    pair: tuple[Server, Server, Line], tmp_path: Path, dies: bool
) -> None:
    first, second, line = pair
    database = first.new_database("exports")
    worker = Worker(tmp_path, database_path(f"postgresql://admin@127.0.0.1:{line.port}/exports"))
    until_at_most(ROWS - 60, database / "list")
    second.stop_following()
    known = pending(database / "list")
    until_at_most(known - 5, database / "list")  # the standby never hears of these
    if dies:
        worker.process.kill()
    first.crash()
    second.promote()
    line.to = second.port
    forgotten = pending(database_path(f"postgresql://admin@127.0.0.1:{second.port}/exports/list"))
    assert forgotten >= known
    code, said = worker.end()
    if not dies:
        assert code == 5
        assert "has lost changes that it had acknowledged" in said
    worker.start()
    code, said = worker.end()
    assert (code, f"{ROWS} rows = {ROWS} succeeded" in said) == (0, True), said
    assert "the database has another history" in said
    assert set(worker.exports().values()) == {1}
    assert len(worker.exports()) == ROWS
