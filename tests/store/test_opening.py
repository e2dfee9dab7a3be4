from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from batchexport.errors import (
    StateCorruptError,
    StateError,
    StateInUseError,
    StateVersionError,
    StateWriteError,
)
from batchexport.store import StateFile, StateReader
from batchexport.store.sqlite import connection, migrations, schema
from batchexport.store.sqlite.connection import open_for_work, require_sqlite
from batchexport.store.sqlite.sqlite_errors import translated
from tests.store.making import alter, ask, claim, make

Opener = Callable[[Path], object]
OPENERS = [pytest.param(StateFile.open, id="work"), pytest.param(StateReader, id="reading")]


@pytest.fixture(params=OPENERS)
def opener(request: pytest.FixtureRequest) -> Opener:
    chosen: Opener = request.param
    return chosen


def refused_unchanged(opener: Opener, path: Path, kind: type[StateError], words: str) -> None:
    before = path.read_bytes()
    with pytest.raises(kind, match=words):
        opener(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_missing_file_is_told_with_the_way_to_make_one(opener: Opener, path: Path) -> None:
    with pytest.raises(StateError, match="no such state file") as caught:
        opener(path)
    assert "batchexport run" in str(caught.value.hint)
    assert not path.exists()


def test_a_folder_is_no_state_file(opener: Opener, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="it is a folder"):
        opener(tmp_path)


def test_an_empty_file_is_refused_and_left_alone(opener: Opener, path: Path) -> None:
    path.touch()
    refused_unchanged(opener, path, StateCorruptError, "it is empty")


def test_a_file_cut_inside_its_header_is_refused_and_left_alone(opener: Opener, made: Path) -> None:
    made.write_bytes(made.read_bytes()[:50])
    refused_unchanged(opener, made, StateCorruptError, "it is cut short")


def test_a_truncated_file_is_refused_and_left_alone(opener: Opener, made: Path) -> None:
    whole = made.read_bytes()
    made.write_bytes(whole[: len(whole) // 2])
    refused_unchanged(opener, made, StateCorruptError, "malformed")


def test_a_file_of_another_kind_is_refused_and_left_alone(opener: Opener, path: Path) -> None:
    path.write_text("volume_id,image_name\n" * 20)
    refused_unchanged(opener, path, StateCorruptError, "looks like a job list")
    path.write_text("Dear diary,\n" * 20)
    refused_unchanged(opener, path, StateCorruptError, "no SQLite file")


def test_a_database_of_another_program_is_refused_and_left_alone(opener: Opener, path: Path) -> None:
    alter(path, "CREATE TABLE job (a)")
    refused_unchanged(opener, path, StateCorruptError, "another program")


def test_a_damaged_schema_is_refused_and_left_alone(opener: Opener, made: Path) -> None:
    data = bytearray(made.read_bytes())
    data[100:400] = b"\xff" * 300
    made.write_bytes(data)
    refused_unchanged(opener, made, StateCorruptError, "not a whole state file")


def test_a_file_without_one_of_its_tables_is_refused_and_left_alone(opener: Opener, made: Path) -> None:
    alter(made, "DROP TABLE tally")
    refused_unchanged(opener, made, StateCorruptError, "no such table: tally")


def test_a_file_whose_tables_contradict_each_other_is_refused(opener: Opener, made: Path) -> None:
    alter(made, "DELETE FROM job WHERE job_id = 3")
    refused_unchanged(opener, made, StateCorruptError, "contradict each other")


def test_a_file_of_a_newer_version_is_refused_and_left_alone(opener: Opener, made: Path) -> None:
    alter(made, "PRAGMA user_version = 99")
    refused_unchanged(opener, made, StateVersionError, r"newer batchexport \(format 99, this one knows 3\)")


def test_a_file_that_was_never_finished_is_refused_and_left_alone(opener: Opener, made: Path) -> None:
    alter(made, "PRAGMA user_version = 0")
    refused_unchanged(opener, made, StateCorruptError, "never finished")


async def test_an_older_file_is_brought_up_to_date(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "VERSION", 4)
    monkeypatch.setattr(migrations, "STEPS", {3: ["ALTER TABLE run ADD COLUMN note TEXT"]})
    with StateReader(made) as reader:
        assert reader.run.rows == 3
    assert ask(made, "PRAGMA user_version") == [(3,)], "who only looks changes nothing"
    async with StateFile.open(made):
        pass
    assert ask(made, "SELECT note FROM run") == [(None,)]
    with StateReader(made) as reader:
        assert reader.run.rows == 3


def test_a_migration_that_fails_leaves_the_older_file(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "VERSION", 4)
    monkeypatch.setattr(migrations, "STEPS", {3: ["CREATE TABLE note (a)", "no SQL at all"]})
    with pytest.raises(StateError, match="syntax error"):
        StateFile.open(made)
    assert ask(made, "PRAGMA user_version") == [(3,)]
    assert ask(made, "SELECT count(*) FROM sqlite_schema WHERE name = 'note'") == [(0,)]


async def test_a_clean_end_leaves_one_file(made: Path) -> None:
    async with StateFile.open(made) as state:
        await claim(await state.take(1))
        beside = {".state", ".state-wal", ".state-shm", ".lock"}
        assert {entry.suffix for entry in made.parent.iterdir()} == beside
    assert [entry.name for entry in made.parent.iterdir()] == ["march.state"]


async def test_the_log_beside_the_file_is_for_its_owner_alone(made: Path) -> None:
    async with StateFile.open(made) as state:
        await claim(await state.take(1))
        modes = {entry.stat().st_mode & 0o777 for entry in made.parent.iterdir()}
    assert modes == {0o600}


async def test_a_reader_at_the_end_does_not_keep_the_file_from_closing(made: Path) -> None:
    with StateReader(made) as reader:
        async with StateFile.open(made) as state:
            await claim(await state.take(1))
            assert len(list(reader.jobs())) == 3
        assert [tally.state for tally in reader.overview().tallies] == ["pending", "submitting"]


def test_a_reader_leaves_nothing_behind(made: Path) -> None:
    with StateReader(made) as reader:
        list(reader.jobs())
    assert [entry.name for entry in made.parent.iterdir()] == ["march.state"]


async def test_a_path_with_special_signs_is_opened(tmp_path: Path) -> None:
    path = make(tmp_path / "a?b#c%20[1] d.state")
    async with StateFile.open(path) as state:
        assert state.path == path
        assert state.run.rows == 1


def test_a_file_locked_by_another_process_is_told(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_S", 0.05)
    other = sqlite3.connect(made, isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StateInUseError, match="locked"):
            StateFile.open(made)
    finally:
        other.close()


def test_an_old_sqlite_is_refused_with_both_versions() -> None:
    with pytest.raises(
        StateError, match=r"SQLite 3\.37\.0 or newer is needed; this Python comes with 3\.36\.0"
    ):
        require_sqlite((3, 36, 0))


def test_a_write_to_a_read_only_file_is_a_write_error(made: Path) -> None:
    db = connection.open_for_reading(made)
    try:
        with pytest.raises(sqlite3.OperationalError) as caught:
            db.execute("DELETE FROM job")
    finally:
        db.close()
    assert isinstance(translated(caught.value, made, "write it"), StateWriteError)


def test_an_error_of_no_special_kind_is_told_in_sqlites_words(made: Path) -> None:
    error = translated(sqlite3.IntegrityError("it clashed"), made, "write it")
    assert type(error) is StateError
    assert str(error) == f"{made}: cannot write it: it clashed"


def test_a_table_whose_words_are_no_text_any_more_is_damage(opener: Opener, made: Path) -> None:
    content = made.read_bytes()
    made.write_bytes(content.replace(b"job_count INTEGER", b"job_count I\xccTEGER", 1))
    assert made.read_bytes() != content
    refused_unchanged(opener, made, StateCorruptError, "not a whole state file")


def as_somebody(task: Callable[[], object]) -> None:
    """Do this as a user who may write nowhere but in the folder for temporary files."""
    if os.geteuid() != 0:
        task()
        return
    os.seteuid(65534)
    try:
        task()
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("with_log", [True, False])
def test_what_a_killed_process_left_is_read_from_a_folder_that_cannot_be_written(with_log: bool) -> None:
    """The last commits stand in the log beside the file; SQLite has to write before it reads them."""
    with TemporaryDirectory() as name:
        folder, path = Path(name), make(Path(name) / "a.state", 3)
        db = open_for_work(path)
        db.execute("UPDATE run SET list_name = 'changed'")
        if not with_log:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (folder / "copy").mkdir()
        for each in folder.glob("a.state*"):
            if not each.name.endswith("-shm"):
                shutil.copyfile(each, folder / "copy" / each.name)
        db.close()
        for each in (folder / "copy").iterdir():
            each.chmod(0o444)
        folder.chmod(0o755)
        (folder / "copy").chmod(0o555)
        before = sorted(each.name for each in (folder / "copy").iterdir())

        def look() -> None:
            with StateReader(folder / "copy" / "a.state") as reader:
                assert reader.run.list_name == "changed"
                assert sum(1 for _ in reader.jobs()) == 3

        as_somebody(look)
        assert sorted(each.name for each in (folder / "copy").iterdir()) == before
        (folder / "copy").chmod(0o755)
