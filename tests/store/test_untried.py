"""A state file no row of which was ever tried may go; any other stays."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import msgspec
import pytest

from batchexport.errors import StateError
from batchexport.store import StateFile, StateReader, stores
from batchexport.store.owner import this_process


def edit(path: Path, statement: str, *values: object) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute(statement, values)
    db.close()


def test_a_fresh_one_goes_and_leaves_nothing_beside_it(made: Path) -> None:
    assert stores.forget(made)
    assert list(made.parent.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE job SET state = 'submitting' WHERE job_id = 1",
        "UPDATE job SET attempt = 1 WHERE job_id = 1",
        "UPDATE job SET first_intent_at = 5.0 WHERE job_id = 1",
        "INSERT INTO operation (job_id, attempt, ended_at, outcome) VALUES (1, 1, 5.0, 'pending')",
    ],
)
def test_one_that_was_tried_stays_as_it_is(made: Path, change: str) -> None:
    edit(made, change)
    assert not stores.forget(made)
    StateReader(made).close()


def test_one_whose_owner_lives_stays(made: Path) -> None:
    now = time.time()
    owner = msgspec.json.encode(this_process(now=now)).decode()
    edit(made, "UPDATE target SET owner = ?, lease_until = ?", owner, now + 30)
    assert not stores.forget(made)
    edit(made, "UPDATE target SET lease_until = ?", now - 1)
    assert stores.forget(made)


async def test_one_that_somebody_has_open_stays(made: Path) -> None:
    async with StateFile.open(made) as opened:
        await opened.flush()
        assert not stores.forget(made)
    StateReader(made).close()


def test_one_that_cannot_be_read_stays(tmp_path: Path) -> None:
    (tmp_path / "v.state").write_bytes(b"nonsense")
    assert not stores.forget(tmp_path / "v.state")
    assert (tmp_path / "v.state").exists()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE run SET created_at = 1e300",
        "UPDATE job SET intent_at = 9e99",
        "UPDATE job SET deadline_at = -1.0",
        "UPDATE target SET owner = '5'",
    ],
)
def test_a_value_that_nobody_wrote_is_damage(made: Path, change: str) -> None:
    edit(made, change)
    with pytest.raises(StateError) as caught, StateReader(made) as reader:
        list(reader.jobs())
        reader.processes()
    assert caught.value.exit_code == 5


def test_a_job_list_in_the_place_of_a_state_file_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("volume_id\n5\n")
    with pytest.raises(StateError, match="looks like a job list") as caught:
        StateReader(tmp_path / "v.csv")
    assert "batchexport run" in (caught.value.hint or "")
