"""In which order the jobs of a target are handed out."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.changes import SizesLearned, Snoozed
from batchexport.model import ExportOrder, ImageOptions, Job
from batchexport.store import StateFile, Work
from tests.store.making import HERE, THERE, make, row, volume

SIZES = {1: 10, 2: 500, 4: 70, 5: 500}  #: that of volume 3 is not known
PRIORITIES = {1: 9, 2: 0, 3: 9, 4: 9, 5: -1}


@pytest.fixture
def ranked(path: Path) -> Path:
    """Five rows of one target, some of them with a priority."""
    said = {number: None if rank == 0 else rank for number, rank in PRIORITIES.items()}
    return make(path, [row(number, options=ImageOptions(priority=rank)) for number, rank in said.items()])


async def order_of(work: Work, order: ExportOrder, *, at_once: int = 2) -> list[int]:
    """The numbers of all jobs as they are handed out, a few at a time."""
    handed: list[Job] = []
    while jobs := await work.claim(at_once, now_s=1.0, server_now_s=1.0, order=order):
        handed += jobs
    return [job.job_id for job in handed]


async def sized(state: StateFile, target_id: int = 1) -> Work:
    work = await state.take(target_id)
    work.apply(SizesLearned({volume(number): gib for number, gib in SIZES.items()}))
    return work


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (ExportOrder.LIST, [1, 2, 3, 4, 5]),
        (ExportOrder.SIZE, [2, 5, 4, 1, 3]),
        (ExportOrder.PRIORITY, [4, 1, 3, 2, 5]),
    ],
)
async def test_each_order(ranked: Path, order: ExportOrder, expected: list[int]) -> None:
    async with StateFile.open(ranked) as state:
        assert await order_of(await sized(state), order) == expected


async def test_without_priorities_the_largest_come_first_and_unknown_sizes_last_as_listed(path: Path) -> None:
    make(path, [row(number) for number in (3, 1, 2, 6, 4, 5)])
    async with StateFile.open(path) as state:
        work = await sized(state)
        # By place in the list: 3 and 6 are unknown, 2 and 5 are the largest.
        assert await order_of(work, ExportOrder.PRIORITY) == [3, 6, 5, 2, 1, 4]


async def test_the_order_may_change_between_two_claims(ranked: Path) -> None:
    async with StateFile.open(ranked) as state:
        work = await sized(state)
        first = await work.claim(1, now_s=1.0, server_now_s=1.0, order=ExportOrder.LIST)
        then = await work.claim(1, now_s=1.0, server_now_s=1.0, order=ExportOrder.SIZE)
        for job in then:
            work.apply(Snoozed(job=job, next_at=0.0))
        assert [job.job_id for job in first + then] == [1, 2]
        assert await order_of(work, ExportOrder.PRIORITY) == [4, 3, 2, 5]


async def test_what_returned_to_the_queue_keeps_its_place(ranked: Path) -> None:
    async with StateFile.open(ranked) as state:
        work = await sized(state)
        for job in await work.claim(2, now_s=1.0, server_now_s=1.0):
            work.apply(Snoozed(job=job, next_at=0.0))
        assert await order_of(work, ExportOrder.PRIORITY) == [4, 1, 3, 2, 5]


async def test_a_size_that_is_learned_later_counts(ranked: Path) -> None:
    async with StateFile.open(ranked) as state:
        work = await sized(state)
        assert [job.job_id for job in await work.claim(1, now_s=1.0, server_now_s=1.0)] == [4]
        work.apply(SizesLearned({volume(3): 4000}))
        assert await order_of(work, ExportOrder.PRIORITY) == [3, 1, 2, 5]


async def test_every_target_has_its_own_order(path: Path) -> None:
    make(path, [row(number, target=HERE if number % 2 else THERE) for number in range(1, 6)])
    async with StateFile.open(path) as state:
        here, there = await sized(state, 1), await sized(state, 2)
        assert await order_of(here, ExportOrder.SIZE) == [5, 1, 3]
        assert await order_of(there, ExportOrder.SIZE) == [2, 4]


async def test_with_a_largest_size_the_order_is_the_same_among_what_fits(ranked: Path) -> None:
    async with StateFile.open(ranked) as state:
        work = await sized(state)
        jobs = await work.claim(9, now_s=1.0, server_now_s=1.0, max_gib=300, order=ExportOrder.SIZE)
        assert [job.job_id for job in jobs] == [4, 1, 3]
