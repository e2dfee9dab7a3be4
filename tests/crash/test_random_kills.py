"""Kills by lot: a short selection of what `torture` does a thousand times."""

from __future__ import annotations

import random

from tests.crash.invariants import violations
from tests.crash.site import Site
from tests.crash.torment import torment


def test_a_run_killed_again_and_again_ends_with_one_image_for_each_volume(site: Site) -> None:
    kills = list(torment(site, random.Random(1), most_kills=5))
    assert kills
    assert violations(site.state_path, site.volume_ids, site.cloud) == []
