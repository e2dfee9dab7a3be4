"""When a delivery may begin, and what a night counts as left."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from batchexport.app.allowance import UNKNOWN_PACE
from batchexport.app.run import WINDOW_CLOSED, outcome_of
from batchexport.app.run_deliveries import may_begin, progress_line
from batchexport.deliveries import Delivery, DeliveryPolicy, DeliveryState, Failed, Planned, Started
from batchexport.engine.deliver import Progress
from batchexport.model import JobState
from batchexport.nightly_runs import NightlyRun, unfinished_before
from batchexport.scheduling.throughput import OpenHours
from batchexport.store import DeliveryBook, count_deliveries, stores
from tests.store.making import bring, image, make

#: GiB and seconds: one GiB takes ten seconds.
TOOK = [(10, 100.0), (20, 200.0), (30, 300.0)]


def of_size(gib: int | None) -> Delivery:
    return Delivery(
        delivery_id=1,
        job_id=1,
        line=2,
        volume_id="",
        size_gib=gib,
        image_id="",
        image_name="",
        position=1,
        destination="cloud:west",
        state=DeliveryState.PENDING,
        attempt=0,
        generation=0,
    )


def hours(*, closes_in_s: float, grace_s: float = 0.0) -> OpenHours:
    closes_at = time.time() + closes_in_s
    return OpenHours(closes_at=closes_at, watched_until=closes_at + grace_s)


@pytest.mark.parametrize(("gib", "fits"), [(None, True), (10, True), (200, True), (400, False)])
def test_a_delivery_begins_only_if_the_window_can_hold_it(gib: int | None, fits: bool) -> None:
    may = may_begin(hours(closes_in_s=3600), TOOK, Progress())
    assert may(of_size(gib)) == fits


def test_no_delivery_begins_in_the_grace_period() -> None:
    assert not may_begin(hours(closes_in_s=-1, grace_s=3600), TOOK, Progress())(of_size(1))


def test_the_grace_period_holds_what_began_in_the_window() -> None:
    assert may_begin(hours(closes_in_s=60, grace_s=3600), TOOK, Progress())(of_size(100))


def test_the_pace_of_this_run_counts() -> None:
    progress = Progress()
    may = may_begin(hours(closes_in_s=3600), [], progress)
    assert not may(of_size(200))  # as slow as exports are taken for that nobody has seen
    progress.took += [(100, 10.0)] * 3
    assert may(of_size(200))


def test_with_a_limit_of_time_and_no_pace_anything_may_begin() -> None:
    limited = OpenHours(closes_at=time.time() + 60, watched_until=time.time() + 60, throughput=UNKNOWN_PACE)
    assert may_begin(limited, [], Progress())(of_size(10_000))
    assert may_begin(None, [], Progress())(of_size(10_000))


async def test_a_night_with_open_deliveries_is_unfinished(tmp_path: Path) -> None:
    path = make(tmp_path / "a-2027-05-01.state", 2)
    async with stores.open_for_work(path) as store:
        work = await store.take(1)
        for _ in range(2):
            await bring(work, JobState.SUCCEEDED)
        book = DeliveryBook(work)
        await book.note_policy(DeliveryPolicy(destinations=("cloud:west",)))
        await book.commit(
            Planned(job_id=1, position=1, image_id=image(1), destination="cloud:west"),
            Started(delivery_id=1, result_id=None, generation=0, at_s=1.0),
            Failed(delivery_id=1, reason="refused", at_s=2.0),
        )
        await work.release()
    night = NightlyRun.read(path)
    # That of row 1 failed, and no night tries it again; that of row 2 is not even planned.
    assert (night.to_do, night.under_way, night.pending) == (1, 1, 0)
    assert unfinished_before(tmp_path / "a-2027-05-02.state", [night]) == night
    with stores.read(path) as reader:
        counts = count_deliveries(reader)
        outcomes = [
            outcome_of(reader, stopped=stopped, wait=True, in_window=in_window)
            for stopped, in_window in ((None, True), (143, False), (None, False))
        ]
    assert counts is not None
    assert (counts.total, counts.failed, counts.open, counts.rows_undelivered) == (2, 1, 1, 2)
    assert [each.exit_code for each in outcomes] == [WINDOW_CLOSED, 143, 3]
    assert {each.undelivered for each in outcomes} == {2}


def test_progress_is_told_in_one_line() -> None:
    progress = Progress()
    heard = progress.begin(1, 4 * 2**30)
    heard(2**30)
    progress.waiting["cloud:away"] = "connection refused"
    assert progress_line(progress, 2**28, count=3) == (
        "0 of 3 delivered; 1 stream at 1.00 of 4.00 GiB, 256.0 MiB/s, 12 s left for these;"
        " cloud:away does not answer: connection refused"
    )
    progress.end(1)
    progress.waiting.clear()
    assert progress_line(progress, 0.0) == "0 delivered"
