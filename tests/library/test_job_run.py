"""The run of a job file from a program."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

import batchexport
from tests.library.test_library import IDS, listed

JOB = """
[job]
list = "{listed}"
state_dir = "nights"
[limits]
requests_per_second = 0
poll_interval = "1s"
"""


def job_file(text: str = JOB) -> str:
    Path("nightly.toml").write_text(text.format(listed=listed()))
    return "nightly.toml"


def state_files() -> list[Path]:
    return [*Path("nights").glob("*.state")]


async def test_the_run_of_a_job_file_exports_its_list_once_a_run() -> None:
    changes: list[batchexport.JobChange] = []
    done = await batchexport.run_job(job_file(), on_change=changes.append, cloud="sandbox")
    assert done.exit_code == 0 and done.state_path is not None
    assert set(batchexport.read_outcome(done.state_path).images) == set(IDS)
    await asyncio.sleep(0)
    assert Counter(each.job.volume_id for each in changes if each.after == "succeeded") == Counter(IDS)
    again = await batchexport.run_job("nightly.toml", cloud="sandbox")
    assert again.exit_code == 0
    assert state_files() == [done.state_path]


async def test_a_closed_window_starts_nothing() -> None:
    window = '[window]\nhours = "00:00-24:00"\ntime_zone = "UTC"\nblackout = ["2020-01-01..2099-12-31"]\n'
    done = await batchexport.run_job(job_file(JOB + window), cloud="sandbox")
    assert (done.exit_code, done.state_path) == (75, None)


async def test_a_cancelled_run_drains_and_the_next_one_resumes_it() -> None:
    submitted = asyncio.Event()
    task = asyncio.create_task(
        batchexport.run_job(job_file(), on_change=lambda change: submitted.set(), cloud="sandbox")
    )
    await submitted.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (state,) = state_files()
    assert not [row for row in batchexport.read_outcome(state).rows if row.state == "submitting"]
    assert (await batchexport.run_job("nightly.toml", cloud="sandbox")).exit_code == 0


async def test_a_job_file_without_nights_is_refused() -> None:
    with pytest.raises(batchexport.ConfigError, match="neither"):
        await batchexport.run_job(job_file('[job]\nlist = "{listed}"\n'), cloud="sandbox")
