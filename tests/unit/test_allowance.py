"""How long a run or a night may go on: `--max-duration` beside a window."""

from __future__ import annotations

import asyncio
from pathlib import Path

from batchexport.app.allowance import UNKNOWN_PACE, Allowance, throughput_of
from batchexport.config import Limits
from batchexport.scheduling.throughput import OpenHours, Throughput
from tests.report.state_files import build_succeeded

PACE = Throughput(base_s=10.0, s_per_gib=2.0)
WINDOW = OpenHours(closes_at=1000.0, watched_until=4600.0, throughput=PACE)


def test_without_limits_a_window_stays_as_it_is() -> None:
    allowance = Allowance.of(Limits(), began_at=100.0)
    assert not allowance.is_limited
    assert allowance.hours(WINDOW, None) is WINDOW
    assert allowance.hours(None, PACE) is None


def test_a_duration_alone_is_a_window_that_nothing_outlasts() -> None:
    hours = Allowance.of(Limits(max_duration_s=300.0), began_at=100.0).hours(None, PACE)
    assert hours is not None
    assert (hours.closes_at, hours.watched_until, hours.limit) == (400.0, 400.0, "--max-duration")
    assert hours.max_gib_at(100.0) == PACE.max_gib(300.0)
    assert hours.max_gib_at(400.0) == 0


def test_until_a_pace_is_known_any_volume_may_begin_in_time() -> None:
    hours = Allowance.of(Limits(max_duration_s=300.0), began_at=100.0).hours(None, None)
    assert hours is not None and hours.throughput == UNKNOWN_PACE
    assert hours.max_gib_at(399.0) > 1_000_000
    assert hours.max_gib_at(400.0) == 0


def test_what_ends_first_ends_the_night() -> None:
    short = Allowance.of(Limits(max_duration_s=300.0), began_at=100.0).hours(WINDOW, None)
    assert short is not None and (short.closes_at, short.watched_until) == (400.0, 400.0)
    in_grace = Allowance.of(Limits(max_duration_s=2900.0), began_at=100.0).hours(WINDOW, None)
    assert in_grace is not None and (in_grace.closes_at, in_grace.watched_until) == (1000.0, 3000.0)
    assert Allowance.of(Limits(max_duration_s=9000.0), began_at=100.0).hours(WINDOW, None) is WINDOW


def test_a_budget_alone_limits_no_hours() -> None:
    allowance = Allowance.of(Limits(max_gib=500), began_at=100.0)
    assert allowance.is_limited and allowance.budget is not None and allowance.budget.left == 500
    assert allowance.hours(None, PACE) is None


def test_too_few_exports_tell_no_pace(tmp_path: Path) -> None:
    asyncio.run(build_succeeded(tmp_path / "good.state"))
    assert throughput_of(tmp_path / "good.state") is None
