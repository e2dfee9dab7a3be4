"""A process killed at any point of the protocol leaves what the same command needs to end it right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.crash import points
from tests.crash.cloud import FlakyCloud
from tests.crash.invariants import violations
from tests.crash.site import Ended, Site, Trap

#: Which arrival at a point kills, where the first would be too early to have much under way.
LATER = {"during_load": 13, "at_send": 5, "after_send": 5, "after_202": 5, "at_connect": 5}
#: Most of a process's time is waiting, so that two cores carry more than two.
AT_ONCE = 4


@pytest.fixture(scope="module")
def ended_at(
    cloud: FlakyCloud, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Mapping[str, Future[Ended]]]:
    """By the point of each test that was chosen: the end of the run that came after the kill there."""
    names = [item.callspec.params["point"] for item in request.session.items if item.path == Path(__file__)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        folders = {name: tmp_path_factory.mktemp(name.replace(":", "_")) for name in names}
        yield {name: pool.submit(kill_and_run_again, folders[name], cloud, name) for name in names}


def kill_and_run_again(folder: Path, cloud: FlakyCloud, point: str) -> Ended:
    """The end of the run after the one that was killed; its talk is what is wrong with the list."""
    site = Site(folder, cloud, volumes=20, seed=point)
    killed = site.run(trap=Trap(point=point, times=LATER.get(point, 1)))
    assert killed.killed, killed.talk
    ended = site.run()
    assert ended.exit_code == 0, ended.talk
    return Ended(ended.exit_code, "\n".join(violations(site.state_path, site.volume_ids, cloud)))


@pytest.mark.parametrize("point", points.NAMES)
def test_a_killed_run_ends_with_one_image_for_each_volume(
    ended_at: Mapping[str, Future[Ended]], point: str
) -> None:
    assert ended_at[point].result() == Ended(0, "")
