"""State files of every released version stay readable, and go on where they were."""

import shutil
from pathlib import Path

import pytest

from batchexport.model import JobState
from batchexport.store import StateFile, StateReader

FILES = sorted((Path(__file__).parent / "files").glob("version-*.state"))


def test_there_is_a_file_of_the_current_version() -> None:
    from batchexport.store.sqlite.schema import VERSION

    assert f"version-{VERSION}.state" in [file.name for file in FILES]


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy, for a look must not touch what is kept."""
    return Path(shutil.copy(request.param, tmp_path / "night.state"))


def test_it_is_read(released: Path) -> None:
    with StateReader(released) as reader:
        jobs = list(reader.jobs())
        assert len(jobs) == reader.run.rows == 5
        assert {job.state for job in jobs} == {JobState.SUCCEEDED}
        assert all(job.image_id and job.size_gib and reader.attempts(job.job_id) for job in jobs)


async def test_it_is_opened_for_work(released: Path) -> None:
    async with StateFile.open(released) as state:
        (target,) = state.targets()
        work = await state.take(target.target_id)
        assert await work.claim(10, now_s=0.0, server_now_s=0.0) == []
        await work.release()
