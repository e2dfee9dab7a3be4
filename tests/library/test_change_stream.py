"""The changes of an export, one by one."""

import asyncio

import pytest

import batchexport
from tests.library.test_library import IDS, QUICK, listed


async def test_every_change_is_told_and_the_outcome_follows() -> None:
    async with batchexport.export_changes(listed(), **QUICK) as changes:
        seen = [change async for change in changes]
        outcome = await changes.outcome()
    assert outcome.ok and set(outcome.images) == set(IDS)
    assert sorted(change.job.volume_id for change in seen if change.after == "succeeded") == sorted(IDS)
    assert [change async for change in changes] == []


async def test_who_leaves_early_has_drained_the_export() -> None:
    async with batchexport.export_changes(listed(), **QUICK) as changes:
        async for change in changes:
            if change.after == "submitting":
                break
    rows = batchexport.read_outcome("volumes.state").rows
    assert not [row for row in rows if row.state == "submitting"]
    assert (await batchexport.export("volumes.csv", **QUICK)).ok


async def test_an_error_of_the_export_is_raised_where_its_changes_are_awaited() -> None:
    with pytest.raises(batchexport.JobListError):
        async with batchexport.export_changes(listed(ids=["no uuid"]), **QUICK) as changes:
            async for _ in changes:
                raise AssertionError("nothing can have changed")


async def test_an_error_of_the_block_is_raised_once_the_export_has_drained() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with batchexport.export_changes(listed(), **QUICK) as changes:
            async for _ in changes:
                raise KeyError("mine")
    assert (await batchexport.export("volumes.csv", **QUICK)).ok


async def test_a_time_limit_drains_it_too() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            async with batchexport.export_changes(listed(), cloud="sandbox", poll_interval_s=60.0) as changes:
                async for _ in changes:
                    pass
    assert (await batchexport.resume("volumes.state", **QUICK)).ok
