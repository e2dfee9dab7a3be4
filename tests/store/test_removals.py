import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from batchexport.changes import RemovalEnded
from batchexport.errors import LeaseLostError, StateError
from batchexport.model import JobState
from batchexport.store import StateFile, StateReader, stores
from batchexport.store.reports import Removal
from tests.store.making import alter, ask, bring, image, make, volume
from tests.store.test_released_files import FILES


@pytest.fixture
async def done(tmp_path: Path) -> Path:
    """A state file whose two rows succeeded."""
    path = make(tmp_path / "a.state", 2)
    async with StateFile.open(path) as state:
        work = await state.take(1)
        for _ in range(2):
            await bring(work, JobState.SUCCEEDED)
        await work.release()
    return path


def noted(path: Path) -> tuple[list[Removal], frozenset[str]]:
    with StateReader(path) as reader:
        return reader.removals(), frozenset(
            each.image_id for each in reader.removals() if each.outcome in ("removed", "gone")
        )


def test_a_file_that_had_nothing_to_note_has_nothing(done: Path) -> None:
    assert noted(done) == ([], frozenset())


@asynccontextmanager
async def log(path: Path) -> AsyncIterator[Any]:
    """What notes removals in the state file, as the process that has its lease."""
    async with StateFile.open(path) as state:
        work = await state.take(1, is_work=False)

        class Log:
            async def asked(self, job_id: int, image_id: str) -> int:
                return await work.images.intend_removal(job_id, image_id, run_id="next", at_s=5.0)

            async def answered(self, number: int, outcome: str, words: str = "") -> None:
                await work.commit(RemovalEnded(operation_id=number, outcome=outcome, reason=words, at_s=6.0))

            async def settle(self, image_id: str, outcome: str) -> None:
                await work.commit(RemovalEnded(image_id=image_id, outcome=outcome, reason="", at_s=7.0))

        yield Log()
        await work.release()


async def test_a_removal_is_on_disk_before_it_is_answered_and_after(done: Path) -> None:
    async with log(done) as notes:
        number = await notes.asked(1, image(1))
        assert ask(done, "SELECT subject, intent_at, outcome FROM operation WHERE kind = 'delete_image'") == [
            (image(1), 5.0, None)
        ]
        await notes.answered(number, "removed", "made old")
    removals, gone = noted(done)
    assert gone == {image(1)}
    assert removals == [
        Removal(
            volume_id=volume(1),
            image_id=image(1),
            run_id="next",
            asked_at=5.0,
            ended_at=6.0,
            outcome="removed",
            words="made old",
        )
    ]


@pytest.mark.parametrize("outcome", [None, "stuck"])
async def test_what_is_not_known_to_be_gone_is_still_there(done: Path, outcome: str | None) -> None:
    async with log(done) as notes:
        number = await notes.asked(2, image(2))
        if outcome:
            await notes.answered(number, outcome, "the cloud's words")
    removals, gone = noted(done)
    assert (removals[0].outcome, gone) == (outcome, frozenset())
    assert [each.image_id for each in removals if each.ended_at is None] == ([] if outcome else [image(2)])


async def test_what_nobody_answered_is_settled_later(done: Path) -> None:
    async with log(done) as notes:
        await notes.asked(2, image(2))
    async with log(done) as notes:
        await notes.settle(image(2), "gone")
    assert noted(done)[1] == {image(2)}


async def test_what_was_removed_is_not_looked_for(done: Path) -> None:
    async with log(done) as notes:
        await notes.answered(await notes.asked(1, image(1)), "removed")
    with stores.exported_images(done, 1) as images:
        assert [each.image_id for each in images.first(9)] == [image(2)]


@pytest.mark.parametrize("released", FILES, ids=lambda file: file.stem)
async def test_a_file_of_an_earlier_release_takes_notes(tmp_path: Path, released: Path) -> None:
    path = Path(shutil.copy(released, tmp_path / "old.state"))
    async with log(path) as notes:
        assert await notes.asked(1, image(1)) > 0
    assert len(noted(path)[0]) == 1


async def test_what_cannot_be_noted_is_an_error(done: Path) -> None:
    alter(done, "ALTER TABLE operation RENAME COLUMN run_id TO of_another_program")
    with pytest.raises(StateError):
        async with log(done) as notes:
            await notes.asked(1, image(1))


async def test_nothing_is_noted_by_a_process_that_lost_the_target(done: Path) -> None:
    with pytest.raises(LeaseLostError):
        async with log(done) as notes:
            alter(done, "UPDATE target SET epoch = epoch + 1")
            await notes.asked(1, image(1))
    assert noted(done) == ([], frozenset())


def test_an_image_whose_id_came_with_an_answer_is_told_from_one_that_was_found(done: Path) -> None:
    alter(done, "UPDATE operation SET request_id = NULL WHERE job_id = 1")
    with StateReader(done) as reader:
        assert [each.image_id for each in reader.attempts() if each.request_id] == [image(2)]
