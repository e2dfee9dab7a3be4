import shutil

import pytest

from batchexport.errors import StateError
from batchexport.model import JobState
from batchexport.store import ExportedImages, StateFile, StateReader
from batchexport.store.removals import Removal, RemovalLog
from tests.store.making import alter, ask, bring, image, make, volume
from tests.store.test_released_files import FILES


@pytest.fixture
async def done(tmp_path):
    """A state file whose two rows succeeded."""
    path = make(tmp_path / "a.state", 2)
    async with StateFile.open(path) as state:
        lease = await state.take(1)
        for _ in range(2):
            await bring(state, lease, JobState.SUCCEEDED)
        await state.release(lease)
    return path


def noted(path):
    with StateReader(path) as reader:
        return reader.removals(), reader.removed_image_ids()


def test_a_file_that_had_nothing_to_note_has_nothing(done):
    assert noted(done) == ([], frozenset())


def test_a_removal_is_on_disk_before_it_is_answered_and_after(done):
    with RemovalLog(done) as log:
        number = log.asked(1, image(1), run_id="next", at_s=5.0)
        assert ask(done, "SELECT image_id, asked_at, outcome FROM removal") == [(image(1), 5.0, None)]
        log.answered(number, "removed", "made old", at_s=6.0)
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
def test_what_is_not_known_to_be_gone_is_still_there(done, outcome):
    with RemovalLog(done) as log:
        number = log.asked(2, image(2), run_id="next", at_s=5.0)
        if outcome:
            log.answered(number, outcome, "the cloud's words", at_s=6.0)
    removals, gone = noted(done)
    assert (removals[0].outcome, gone) == (outcome, frozenset())


def test_what_was_removed_is_not_looked_for(done):
    with RemovalLog(done) as log:
        log.answered(log.asked(1, image(1), run_id="next", at_s=5.0), "removed", "", at_s=6.0)
    with ExportedImages(done, 1) as images:
        assert [each.image_id for each in images.first(9)] == [image(2)]


@pytest.mark.parametrize("released", FILES, ids=lambda file: file.stem)
def test_a_file_of_an_earlier_release_takes_notes(tmp_path, released):
    path = shutil.copy(released, tmp_path / "old.state")
    with RemovalLog(path) as log:
        assert log.asked(1, image(1), run_id="next", at_s=5.0) == 1
    assert len(noted(path)[0]) == 1


def test_what_cannot_be_noted_is_an_error(done):
    alter(done, "CREATE TABLE removal (of_another_program TEXT)")
    with RemovalLog(done) as log, pytest.raises(StateError, match=r"a\.state: cannot write it: "):
        log.asked(1, image(1), run_id="next", at_s=5.0)
