"""A process killed at any point of the protocol leaves what the same command needs to end it right."""

from __future__ import annotations

import pytest

from tests.crash import points
from tests.crash.invariants import violations
from tests.crash.site import Site, Trap

#: Which arrival at a point kills, where the first would be too early to have much under way.
LATER = {"during_load": 13, "at_send": 5, "after_send": 5, "after_202": 5, "at_connect": 5}


@pytest.mark.parametrize("point", points.NAMES)
def test_a_run_that_was_killed_ends_with_one_image_for_each_volume(site: Site, point: str) -> None:
    killed = site.run(trap=Trap(point=point, times=LATER.get(point, 1)))
    assert killed.killed, killed.talk
    ended = site.run()
    assert ended.exit_code == 0, ended.talk
    assert violations(site.state_path, site.volume_ids, site.cloud) == []
