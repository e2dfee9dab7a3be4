"""Images of succeeded rows, waited for on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.changes import Ended
from batchexport.errors import StateCorruptError
from batchexport.model import Ending, ImageOptions, JobState
from batchexport.store import Exported, StateFile, stores
from tests.store.making import accept, alter, bring, claim, image, make, row, volume

RAW = ImageOptions(disk_format="raw")


@pytest.fixture
async def run(path: Path) -> Path:
    """Two rows that became images, the second with a hash, and one that failed."""
    make(path, [row(1, options=RAW), row(2), row(3)])
    async with StateFile.open(path) as state:
        work = await state.take(1)
        await bring(work, JobState.SUCCEEDED)
        (job,) = await claim(work, now_s=200.0)
        accept(work, job)
        work.apply(
            Ended(
                job=job,
                after=JobState.SUCCEEDED,
                ending=Ending(reason="active", image_hash="md5:1"),
                at_s=9.0,
            )
        )
        await bring(work, JobState.FAILED)
        await work.release()
    return path


def test_images_are_waited_for_until_they_are_taken(run: Path) -> None:
    with stores.exported_images(run, 1) as images:
        assert (len(images), images.oldest_s) == (2, 100.5)
        second = Exported(
            line=3,
            volume_id=volume(2),
            image_id=image(2),
            image_name=f"{volume(2)}-run",
            options=ImageOptions(),
            size_gib=10,
            image_hash="md5:1",
            is_shared=False,
        )
        assert images.take([image(2), "another"]) == [second]
        assert images.take([image(2)]) == []
        (first,) = images.first(9)
        assert (first.line, first.options, first.image_hash) == (2, RAW, None)
        assert len(images) == 1


def test_the_state_file_is_only_read(run: Path) -> None:
    before = run.read_bytes()
    with stores.exported_images(run, 1) as images:
        images.take([image(1)])
    assert run.read_bytes() == before


def test_a_target_without_images_waits_for_none(run: Path) -> None:
    with stores.exported_images(run, 2) as images:
        assert (len(images), images.oldest_s, images.first(9)) == (0, None, [])


def test_a_damaged_file_is_told(run: Path) -> None:
    alter(run, "PRAGMA writable_schema=ON", "UPDATE sqlite_schema SET rootpage = 9999 WHERE name = 'job'")
    with pytest.raises(StateCorruptError):
        stores.exported_images(run, 1)
