from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchexport.changes import Requeued, SizesLearned, Snoozed
from batchexport.model import Ending, ExportOrder
from batchexport.store import StateFile
from batchexport.store.sqlite import claims, queries
from batchexport.store.sqlite.connection import open_for_work
from batchexport.store.sqlite.work import SqliteWork as Work
from tests.store.making import make
from tests.store.test_plans import plan


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_for_work(make(tmp_path / "a.state", 20))
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (claims.CLAIM_WAITING_THAT_FITS, "job_waiting"),
        (claims.CLAIM_READY_THAT_FITS[ExportOrder.LIST], "job_ready"),
        (queries.ANY_READY_THAT_FITS, "job_ready"),
        (queries.FIRST_WAITING_THAT_FITS, "job_waiting"),
    ],
)
def test_a_statement_goes_by_its_index(db: sqlite3.Connection, statement: str, index: str) -> None:
    steps = plan(db, statement)
    assert index in steps
    assert "SCAN job" not in steps


async def sized(state: StateFile, sizes: list[int | None]) -> Work:
    """Work under a lease, after the first volumes were given these sizes."""
    work = await state.take(1)
    jobs = await work.claim(100, now_s=0.0, server_now_s=0.0)
    for job in jobs:
        work.apply(Snoozed(job=job, next_at=0.0))
    known = zip(jobs, sizes, strict=True)
    work.apply(SizesLearned({job.volume_id: size for job, size in known if size is not None}))
    return work


async def claimed(work: Any, max_gib: int) -> list[int | None]:
    jobs = await work.claim(100, now_s=50.0, server_now_s=0.0, max_gib=max_gib)
    return [job.size_gib for job in jobs]


async def test_only_what_fits_is_claimed_the_largest_first(tmp_path: Path) -> None:
    async with StateFile.open(make(tmp_path / "a.state", 4)) as state:
        work = await sized(state, [30, 10, 50, 20])
        assert await claimed(work, 30) == [30, 20, 10]
        assert await work.next_due_s(max_gib=30) is None
        assert await work.next_due_s(max_gib=50) == 0.0
        assert await claimed(work, 50) == [50]


async def test_an_unknown_size_counts_as_the_mean_of_the_known(tmp_path: Path) -> None:
    async with StateFile.open(make(tmp_path / "a.state", 3)) as state:
        work = await sized(state, [10, 30, None])
        assert await claimed(work, 19) == [10]
        assert await claimed(work, 20) == [None]


async def test_where_no_size_is_known_everything_fits(tmp_path: Path) -> None:
    async with StateFile.open(make(tmp_path / "a.state", 2)) as state:
        work = await sized(state, [None, None])
        assert await claimed(work, 1) == [None, None]


async def test_a_waiting_row_is_due_only_if_it_fits(tmp_path: Path) -> None:
    async with StateFile.open(make(tmp_path / "a.state", 2)) as state:
        work = await sized(state, [10, 40])
        jobs = await work.claim(2, now_s=0.0, server_now_s=0.0)
        for job, due_at in zip(jobs, (40.0, 90.0), strict=True):
            work.apply(
                Requeued(job=job, ending=Ending(reason="busy"), at_s=0.0, next_at=due_at, counted=True)
            )
        assert await work.next_due_s(max_gib=40) == 40.0
        assert await work.next_due_s(max_gib=39) == 90.0
        assert await claimed(work, 39) == []
        assert await claimed(work, 40) == [40]
