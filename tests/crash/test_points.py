"""Runs killed at point after point of the protocol leave what the same command needs to end them right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.crash import points
from tests.crash.cloud import FlakyCloud
from tests.crash.invariants import violations
from tests.crash.site import Site, Trap

#: One list each, killed at these points by turns. What comes last is reached at the end of a list only.
CHAINS = {
    "building": ("during_load", "before_rename", "after_rename", "before_commit:take", "after_commit:take"),
    "claiming": ("before_intent", "after_intent", "before_commit:claim", "after_commit:claim"),
    "sending": ("at_connect", "at_send", "after_send", "after_202"),
    "recording": (
        *("before_commit:put_back", "after_commit:put_back", "before_commit:accept", "after_commit:accept"),
        *("before_commit:end", "after_commit:end"),
    ),
    "settling": ("at_settle_look", "after_settle_decision"),
    "closing": ("at_close", "while_closing"),
    "leaving": ("before_commit:release",),
    "left": (
        "after_commit:release",
    ),  # a run that finds nothing to do takes no lease that it could give back
}
#: Which arrival at a point kills, where the first would be too early to have much under way.
LATER = {"at_send": 5, "after_send": 5, "after_202": 5}
#: Few at a time, so that no process does so much that the next one comes to none of its points.
FEW = ("--max-exports", "8")
#: Most of a process's time is waiting, so that two cores carry more than two.
AT_ONCE = 4


@pytest.fixture(scope="module")
def ends(
    cloud: FlakyCloud, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Mapping[str, Future[list[str]]]]:
    """By chain, for those of the tests that were chosen: what is wrong with its list after all."""
    chosen = [
        getattr(item, "callspec", None) for item in request.session.items if item.path == Path(__file__)
    ]
    chains = [callspec.params["chain"] for callspec in chosen if callspec is not None]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        folders = {chain: tmp_path_factory.mktemp(chain) for chain in chains}
        yield {chain: pool.submit(kill_at_each, folders[chain], cloud, chain) for chain in chains}


def kill_at_each(folder: Path, cloud: FlakyCloud, chain: str) -> list[str]:
    """What is wrong with a list after a process was killed at each point of the chain and one ended it."""
    site = Site(folder, cloud, volumes=60, seed=chain)
    for point in CHAINS[chain]:
        killed = site.run(*FEW, trap=Trap(point=point, times=LATER.get(point, 1)))
        assert killed.killed, f"{point}: {killed.talk}"
    ended = site.run()
    assert ended.exit_code == 0, ended.talk
    return violations(site.state_path, site.volume_ids, cloud)


@pytest.mark.parametrize("chain", CHAINS)
def test_a_list_killed_at_each_point_ends_with_one_image_for_each_volume(
    ends: Mapping[str, Future[list[str]]], chain: str
) -> None:
    assert ends[chain].result() == []


def test_every_point_stands_in_a_chain() -> None:
    assert sorted(point for chain in CHAINS.values() for point in chain) == sorted(points.NAMES)
