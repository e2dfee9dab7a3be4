"""Kills by lot: a short selection of what `torture` does for an hour."""

from __future__ import annotations

import random

import pytest

from tests.crash.invariants import violations
from tests.crash.site import Site
from tests.crash.torment import torment


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_again_and_again_ends_with_one_image_for_each_volume(site: Site, seed: int) -> None:
    kills = list(torment(site, random.Random(seed), most_kills=4))
    assert kills
    assert violations(site.state_path, site.volume_ids, site.cloud) == []
