"""The thousand kills as a test, only when asked for: ``pytest -m torture``."""

from __future__ import annotations

import random

import pytest

from tests.crash.torture import summary, torture


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_a_thousand_kills_lose_nothing_and_repeat_nothing() -> None:
    seed = random.randrange(10**6)
    toll = torture(seed, 1000, at_once=4, deadline_s=3000)
    assert not toll.violations, summary(seed, toll, 0)
    assert toll.kills.total() >= 1000
