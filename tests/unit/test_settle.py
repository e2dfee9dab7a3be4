"""When a request in doubt is looked at, and for how long one that was rejected is."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from batchexport.config import Limits, Settings
from batchexport.engine.ledger import JobInDoubt
from batchexport.engine.prior_images import Prior
from batchexport.engine.settle import Evidence, Settler
from batchexport.model import NO_OPTIONS, Job
from tests.engine.fast_time import run_fast

SETTLE_S = 30.0
FREE = Evidence(uploading=False, missing=False, named=None)


class Nothing:
    """No image exists."""

    async def look(self, job: Job, **given: Any) -> Prior:
        return Prior()


def settler(ledger: Any = None, *, settle_s: float = SETTLE_S) -> Settler:
    cloud: Any = None
    prior: Any = Nothing()
    return Settler(cloud, ledger, prior, Settings(limits=Limits(settle_s=settle_s)))


@pytest.mark.parametrize(("settle_s", "interval_s"), [(0.0, 1.0), (30.0, 15.0), (40.0, 20.0), (600.0, 30.0)])
def test_the_second_poll_after_the_in_doubt_timeout_began_proves_a_request_lost(
    settle_s: float, interval_s: float
) -> None:
    assert settler(settle_s=settle_s)._interval_s() == interval_s


def test_a_rejected_request_waits_for_an_earlier_one_as_long_as_any() -> None:
    async def work() -> None:
        retried: list[Job] = []
        ledger = SimpleNamespace(retry_or_fail=lambda job, _: retried.append(job))
        job = Job(job_id=1, volume_id="v", image_name="n", options=NO_OPTIONS)
        doubt = JobInDoubt(job, asyncio.get_running_loop().time(), was_rejected=True)
        one = settler(ledger)
        await one._settle(doubt, FREE)
        await asyncio.sleep(SETTLE_S - 1)
        await one._settle(doubt, FREE)
        assert retried == []
        await asyncio.sleep(1)
        await one._settle(doubt, FREE)
        assert retried == [job]

    run_fast(work())


UPLOADING = Evidence(uploading=True, missing=False, named=None)


@pytest.mark.parametrize("before", [[UPLOADING], [FREE, UPLOADING], [FREE, FREE, UPLOADING]], ids=len)
def test_the_in_doubt_timeout_begins_when_the_volume_is_free_again(before: list[Evidence]) -> None:
    """While it is being copied nothing is known of the request, however long that takes."""

    async def work() -> None:
        retried: list[Job] = []
        ledger = SimpleNamespace(snooze=lambda job, *_, **__: retried.append(job))
        job = Job(job_id=1, volume_id="v", image_name="n", options=NO_OPTIONS)
        doubt = JobInDoubt(job, asyncio.get_running_loop().time())
        one = settler(ledger)
        for seen in [*before, FREE, FREE]:
            await one._settle(doubt, seen)
            await asyncio.sleep(SETTLE_S / 2 - 1)
        assert retried == []
        await asyncio.sleep(2)
        await one._settle(doubt, FREE)
        assert retried == [job]

    run_fast(work())
